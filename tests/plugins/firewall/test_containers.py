"""Packets of real containers. Everything that is closed is shown to be open without the firewall, before and after."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from invoker.config import NodeSettings
from tests.plugins.firewall import neighbourhood as at
from tests.plugins.firewall.filters import BridgedRuntime, up
from tests.plugins.firewall.neighbourhood import Neighbourhood, a_neighbourhood
from tests.plugins.runtime_docker.tiny_image import imported
from tests.services.docker import docker, podman  # noqa: F401 (pytest finds them here)


@pytest.fixture(scope="session")
def docker_image(docker: str, filtering: None, absent: Callable[[str], None]) -> Iterator[str]:  # noqa: F811
    """An image with nothing but busybox, on the Docker engine."""
    with imported(docker, absent) as name:
        yield name


@pytest.fixture(scope="session")
def podman_image(podman: str, filtering: None, absent: Callable[[str], None]) -> Iterator[str]:  # noqa: F811
    """The same on podman."""
    with imported(podman, absent) as name:
        yield name


@pytest.fixture(params=["docker", "podman"])
def engine_and_image(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each engine's URL, and the image that it has."""
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_image")


def around(neighbourhood: Neighbourhood, **firewall: Any) -> AbstractAsyncContextManager[Any]:
    """The firewall around a runtime behind the neighbourhood's bridge; with an identity that nobody else here has."""
    return up(BridgedRuntime(neighbourhood.bridge), node=NodeSettings(unique_name=neighbourhood.bridge), **firewall)


async def reached(neighbourhood: Neighbourhood) -> dict[str, bool]:
    """What the first container reaches."""
    return {
        "the gateway": await neighbourhood.reaches(await neighbourhood.address(of="Gateway")),
        "another address of the machine": await neighbourhood.reaches(at.OWN),
        "a private address": await neighbourhood.reaches(at.OUTSIDE),
        "metadata": await neighbourhood.reaches(at.METADATA),
        "another container": await neighbourhood.reaches(await neighbourhood.address(second=True), 8080),
        "the internet": await neighbourhood.reaches(at.PUBLIC),
    }


async def answers(neighbourhood: Neighbourhood) -> bool:
    """Whether a container answers this machine, as an action proxy answers the invoker."""
    reader, writer = await asyncio.open_connection(await neighbourhood.address(), 8080)
    writer.write(b"GET /nothing HTTP/1.0\r\n\r\n")
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return said.startswith(b"HTTP/1.1 404")


async def test_containers_reach_the_internet_and_nothing_else(engine_and_image: tuple[str, str]) -> None:
    async with a_neighbourhood(*engine_and_image) as neighbourhood:
        before = await reached(neighbourhood)
        async with around(neighbourhood):
            during = await reached(neighbourhood)
            answered = await answers(neighbourhood)
        after = await reached(neighbourhood)

    assert set(before.values()) == {True}
    assert [what for what, is_reached in during.items() if is_reached] == ["the internet"]
    assert answered
    assert after == before


async def test_containers_reach_what_is_allowed(engine_and_image: tuple[str, str]) -> None:
    async with a_neighbourhood(*engine_and_image) as neighbourhood:
        async with around(neighbourhood):
            without = [await neighbourhood.reaches(address) for address in (at.OUTSIDE, at.OWN)]
        async with around(neighbourhood, internet=False, allow=(f"{at.OUTSIDE}:{at.PORT}/tcp", at.OWN)):
            allowed = [await neighbourhood.reaches(address) for address in (at.OUTSIDE, at.OWN)]
            others = [await neighbourhood.reaches(address) for address in (at.METADATA, at.PUBLIC)]

    assert (without, allowed, others) == ([False, False], [True, True], [False, False])


async def test_names_are_resolved_by_the_name_servers_that_are_named(docker: str, docker_image: str) -> None:  # noqa: F811
    """Docker's own server, on 127.0.0.11, asks them in the container's name and from its address (found with 20.10)."""
    async with a_neighbourhood(docker, docker_image) as neighbourhood:
        before = await neighbourhood.resolves()
        async with around(neighbourhood, resolvers=()):
            unnamed = await neighbourhood.resolves()
        async with around(neighbourhood, resolvers=(at.OUTSIDE,), internet=False):
            named = await neighbourhood.resolves()
            beside = await neighbourhood.reaches(at.OUTSIDE)

    assert (before, unnamed, named, beside) == (True, False, True, False)


async def test_podmans_name_server_is_the_gateway(podman: str, podman_image: str) -> None:  # noqa: F811
    async with a_neighbourhood(podman, podman_image) as neighbourhood:
        server = await neighbourhood.address(of="Gateway")
        own_name = f"{neighbourhood.first}.dns.podman"
        before = await neighbourhood.resolves(own_name, server)
        async with around(neighbourhood, resolvers=()):
            unnamed = await neighbourhood.resolves(own_name, server)
        async with around(neighbourhood, resolvers=("gateway",)):
            named = await neighbourhood.resolves(own_name, server)
            beside = await neighbourhood.reaches(server)

    assert (before, unnamed, named, beside) == (True, False, True, False)


async def test_the_engines_own_rules_are_as_before(engine_and_image: tuple[str, str]) -> None:
    def rules() -> list[str]:
        programs = ("iptables-nft-save", "iptables-legacy-save")
        saved = [subprocess.run([each], capture_output=True, text=True, check=True).stdout for each in programs]
        return [line for each in saved for line in each.splitlines() if neighbourhood.bridge in line]

    async with a_neighbourhood(*engine_and_image) as neighbourhood:
        before = rules()
        async with around(neighbourhood):
            during = rules()
        after = rules()

    assert before == during == after
