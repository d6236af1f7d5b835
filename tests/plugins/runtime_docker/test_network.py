"""The network of the containers: found or made, whoever else makes it at the same time."""

import asyncio
import http.client
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from invoker.config import Seconds
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker.errors import SettingsError
from invoker_docker.create_request import create_request
from invoker_docker.engine import EngineClient, connected
from invoker_docker.failures import EngineDown
from invoker_docker.network import NETWORK_LABEL, ContainerNetwork
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.invoker_place import a_name, settings_for
from tests.plugins.runtime_docker.stand_in import never, says, stand_in
from tests.plugins.runtime_docker.tiny_image import asked, imported

PORT = 8080


@contextmanager
def a_network(url: str) -> Iterator[DockerSettings]:
    """Settings with a network that nobody has yet; afterwards nobody has it again."""
    mark = secrets.token_hex(4)
    settings = settings_for(url, network=f"invoker-tests-{mark}", bridge=f"it-{mark}")
    try:
        yield settings
    finally:
        status, said = asked(url, "DELETE", f"/networks/{settings.network}")
        assert status in (http.client.NO_CONTENT, http.client.NOT_FOUND), said


def shown(settings: DockerSettings) -> dict[str, Any]:
    """What the engine itself says about the network."""
    found: dict[str, Any] = json.loads(asked(settings.url, "GET", f"/networks/{settings.network}")[1])
    return found


def create(settings: DockerSettings, **more: Any) -> None:
    """Create the network as somebody else would."""
    config = {"Name": settings.network, "Driver": "bridge"} | more
    status, said = asked(settings.url, "POST", "/networks/create", json.dumps(config).encode())
    assert status == http.client.CREATED, said


async def test_a_missing_network_is_created(engine_url: str) -> None:
    with a_network(engine_url) as settings:
        async with connected(settings) as engine:
            network = ContainerNetwork(engine)
            await network.look()
            planned = network.bridge
            assert asked(settings.url, "GET", f"/networks/{settings.network}")[0] == http.client.NOT_FOUND
            await network.ensure()
        made = shown(settings)

    assert planned == network.bridge == settings.bridge
    assert made["Labels"] == {NETWORK_LABEL: "1"}


async def test_a_network_that_is_there_is_taken_as_it_is(engine_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with a_network(engine_url) as settings:
        subnet = f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(256)}"
        create(settings, IPAM={"Config": [{"Subnet": f"{subnet}.0/28", "Gateway": f"{subnet}.14"}]})
        before = shown(settings)
        async with connected(settings) as engine:
            with caplog.at_level(logging.WARNING):
                network = ContainerNetwork(engine)
                await network.look()
                await network.ensure()
            podman = engine.able.podman
        after = shown(settings)

    assert after == before
    assert caplog.text.count("can reach each other") == 1
    assert network.bridge not in (None, settings.bridge)
    assert podman or network.bridge == f"br-{before['Id'][:12]}"


async def test_several_invokers_may_create_it_at_once(engine_url: str) -> None:
    with a_network(engine_url) as settings:
        async with connected(settings) as engine:
            networks = [ContainerNetwork(engine) for _ in range(6)]
            await asyncio.gather(*(network.ensure() for network in networks))
        listed = json.loads(asked(engine_url, "GET", "/networks")[1])

    assert {network.bridge for network in networks} == {settings.bridge}
    assert [one["Name"] for one in listed].count(settings.network) == 1


async def test_the_engines_default_network_can_be_used(engine_url: str) -> None:
    settings = settings_for(engine_url, network="bridge")
    async with connected(settings) as engine:
        network = ContainerNetwork(engine)
        await network.look()

    assert network.bridge in ("docker0", "podman0", "cni-podman0")


async def test_an_interface_that_another_network_has_is_told(engine_url: str) -> None:
    with a_network(engine_url) as other, a_network(engine_url) as settings:
        create(other, Options={"com.docker.network.bridge.name": settings.bridge})
        async with connected(settings) as engine:
            with pytest.raises(SettingsError, match=r"with the bridge .*bridge name.*set docker\.bridge to") as caught:
                await ContainerNetwork(engine).ensure()
            assert f"can't create '{settings.network}'" in str(caught.value)


async def test_an_engine_that_is_down_has_no_network() -> None:
    async with stand_in() as engine_there:
        settings = settings_for(engine_there.url, network="n", create_timeout=Seconds(0.05))
        async with connected(settings) as engine:
            engine_there.answers["POST /networks/create"] = never
            with pytest.raises(EngineDown):
                await ContainerNetwork(engine).ensure()


@pytest.mark.parametrize("driver", ["macvlan", "overlay"])
async def test_a_network_without_a_bridge_has_none(driver: str) -> None:
    async with stand_in() as engine_there:
        found = {"Name": "n", "Id": "0123456789abcdef", "Driver": driver, "Options": None, "IPAM": {"Config": None}}
        engine_there.answers["GET /networks/n"] = says(found)
        settings = settings_for(engine_there.url, network="n")
        async with connected(settings) as engine:
            network = ContainerNetwork(engine)
            await network.look()

    assert network.bridge is None


@asynccontextmanager
async def running(engine: EngineClient, settings: DockerSettings, image: str, *command: str) -> AsyncIterator[str]:
    """Run a command in a container as actions have it; yield the container's name."""
    name = a_name()
    spec = ContainerSpec(name=name, runtime=Runtime(kind="a:1", family="a", image=image), memory=128 << 20)
    request = create_request(spec, settings, pool_memory=1 << 30, labels={}, able=engine.able)
    try:
        await engine.create(name, request | {"Cmd": command})
        await engine.start(name)
        yield name
    finally:
        await engine.remove(name)


async def address_of(engine: EngineClient, name: str, network: str) -> str:
    address: str = (await engine.inspect(name))["NetworkSettings"]["Networks"][network]["IPAddress"]
    return address


async def answers(address: str) -> bool:
    """Ask until something listens there."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(address, PORT)
            writer.close()
            await writer.wait_closed()
            return True
        await asyncio.sleep(0.01)  # it boots


@pytest.fixture(scope="session")
def docker_image(docker_url: str, absent: Callable[[str], None]) -> Iterator[str]:
    with imported(docker_url, absent) as name:
        yield name


@pytest.mark.parametrize(("icc", "code"), [("false", 1), ("true", 0)])
async def test_containers_reach_each_other_only_where_somebody_wanted_it(
    docker_url: str, docker_image: str, icc: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with a_network(docker_url) as settings:
        if icc == "true":
            create(settings)
        async with connected(settings) as engine:
            await ContainerNetwork(engine).ensure()
            async with running(engine, settings, docker_image, "busybox", "httpd", "-f", "-p", str(PORT)) as server:
                address = await address_of(engine, server, settings.network)
                reached_from_here = await answers(address)
                knock = ["busybox", "nc", "-w", "1", address, str(PORT), "-e", "true"]
                async with running(engine, settings, docker_image, *knock) as client:
                    _, ended = await asyncio.to_thread(asked, docker_url, "POST", f"/containers/{client}/wait")

    assert ("can reach each other" in caplog.text) == (icc == "true")
    assert reached_from_here
    assert json.loads(ended)["StatusCode"] == code
