"""What tests of the runtime share: engines that others use as well, and identities that nobody else has."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, closing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from invoker import Settings
from invoker.config import NodeSettings, Seconds, state_dir
from invoker.contracts import Container, ContainerRuntime, Output
from invoker.entities.container import ContainerSpec
from invoker.entities.runtimes import Runtime
from invoker.errors import Occupied
from invoker.testing.containers import PATIENCE, RecordedOutput
from invoker_docker.ownership import BOOT_LABEL, HOME_LABEL, NAME_LABEL, OWNER_LABEL, identity, owning
from invoker_docker.runtime import DockerRuntime, docker_runtime
from invoker_docker.settings import DockerSettings
from tests.services.docker import EngineConnection
from tests.services.troubled_socket import TroubledSocket, troubled

FILES = {"Name": "nofile", "Soft": 1024, "Hard": 1024}


PROCESSES = {"Name": "nproc", "Soft": 4096, "Hard": 4096}
"""podman sets both limits to the kernel's greatest if it isn't told, which not every machine's root may."""


ALONE: dict[str, Any] = {"HostConfig": {"NetworkMode": "none", "Ulimits": [FILES, PROCESSES]}}
"""How containers are started that are only here to live."""


def settings_for(url: str, **more: Any) -> DockerSettings:
    """Return settings for an engine that others use as well: nothing of theirs is touched."""
    return DockerSettings(**{"url": url} | more)


def a_name() -> str:
    """Return a name that nobody else has."""
    return f"invoker-tests-{uuid.uuid4().hex[:12]}"


ECHO = "def main(args):\n    return args\n"


MEMORY = 128 << 20


MARK = uuid.uuid4().hex[:8]


NETWORK = f"invoker-tests-{MARK}"
"""Of this run alone: two engines on one machine must not have one bridge."""


SOON = Seconds(0.05)


NEVER = Seconds(3600)


class InvokerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """An engine, an image of Python actions on it, and an invoker that nobody else is."""

    url: str
    """Of the engine itself, past everything that may be between it and the invoker."""
    image: str
    node: NodeSettings
    docker: DockerSettings

    @property
    def settings(self) -> Settings:
        return Settings.of(self.node, self.docker)

    def but(self, **docker: Any) -> "InvokerPlace":
        """Return one that differs in some settings of the plugin."""
        return msgspec.structs.replace(self, docker=msgspec.structs.replace(self.docker, **docker))

    def with_a_network_of_its_own(self) -> "InvokerPlace":
        """Return one whose network nobody has yet: it is the test's to remove."""
        mark = self.node.unique_name or ""
        return self.but(network=mark, bridge=mark[-12:])

    def has_network(self) -> bool:
        """Whether its network is there."""
        return self.ask("GET", f"/networks/{self.docker.network}")[0] == HTTPStatus.OK

    def remove_network(self) -> int:
        """Remove its network behind the runtime's back; return the status."""
        return self.ask("DELETE", f"/networks/{self.docker.network}")[0]

    @property
    def name(self) -> str:
        """A container's name that nobody else uses on this engine."""
        return f"wsk-{self.node.unique_name}"

    def spec(self, name: str = "", **runtime: Any) -> ContainerSpec:
        chosen = Runtime(**{"kind": "python:3", "family": "python", "image": self.image} | runtime)
        return ContainerSpec(name=name or self.name, runtime=chosen, memory=MEMORY)

    def ask(self, method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
        """Ask the engine something, without going through what is tested."""
        with closing(EngineConnection(self.url)) as connection:
            sent = None if body is None else json.dumps(body)
            target = f"/v1.41{path}?{urlencode(query)}"
            connection.request(method, target, sent, {"Content-Type": "application/json"})
            response = connection.getresponse()
            said = response.read()
            return response.status, json.loads(said) if said.strip() else None

    def containers(self, owner: str | None = None) -> list[str]:
        """Return the names of this invoker's containers, or of another's, in whatever state they are."""
        label = f"{OWNER_LABEL}={identity(self.node) if owner is None else owner}"
        status, found = self.ask("GET", "/containers/json", all="1", filters=json.dumps({"label": [label]}))
        assert status == HTTPStatus.OK, found
        return [name.removeprefix("/") for one in found for name in one["Names"]]

    def left(self) -> Callable[[], Awaitable[Collection[object]]]:
        """Return what looks for containers, without asking the runtime."""

        async def names() -> Collection[object]:
            return self.containers()

        return names

    def boot(self, name: str) -> str:
        """Return which life of the invoker created a container."""
        return str(self.ask("GET", f"/containers/{name}/json")[1]["Config"]["Labels"][BOOT_LABEL])

    @property
    def home(self) -> str:
        """What its containers have in common in all its lives; one that has had none begins one."""
        with suppress(Occupied), owning(self.node):
            pass
        (lock,) = state_dir(self.node).glob("docker-*.lock")
        return lock.read_text().split()[-1]

    def make(
        self, name: str, owner: str | None = None, *, start: bool = False, boot: str = "another", **labels: str
    ) -> str:
        """Create a container behind the runtime's back, of a life of this invoker or another; return its id."""
        owner = identity(self.node) if owner is None else owner
        mine = {OWNER_LABEL: owner, HOME_LABEL: self.home, NAME_LABEL: name, BOOT_LABEL: boot}
        given = {label: value for label, value in {**mine, **labels}.items() if value}
        request = {"Image": self.image, "Labels": given, **ALONE}
        status, said = self.ask("POST", "/containers/create", request, name=name)
        assert status == HTTPStatus.CREATED, said
        if start:
            assert self.ask("POST", f"/containers/{name}/start")[0] == HTTPStatus.NO_CONTENT
        return str(said["Id"])

    def remove(self, name: str) -> None:
        """Remove a container behind the runtime's back, if it is there."""
        self.ask("DELETE", f"/containers/{name}", force="1", v="1")


def a_place(url: str, image: str, folder: Path, *, podman: bool) -> InvokerPlace:
    return InvokerPlace(
        url=url,
        image=image,
        node=NodeSettings(unique_name=f"test-{uuid.uuid4().hex[:12]}", state_dir=folder),
        docker=DockerSettings(
            url=url,
            network=NETWORK,
            bridge=f"it{MARK}{'p' if podman else 'd'}",
            pull="never",
        ),
    )


def without_network(url: str) -> None:
    """Remove the tests' network."""
    with closing(EngineConnection(url)) as connection:
        connection.request("DELETE", f"/v1.41/networks/{NETWORK}")
        connection.getresponse().read()


async def loaded(runtime: ContainerRuntime, spec: ContainerSpec, code: str, output: Output | None = None) -> Container:
    """Return a container that has taken `code`."""
    container = await runtime.create(spec, output or RecordedOutput())
    value = {"name": "action", "main": "main", "binary": False, "code": code, "env": {}}
    reply = await container.post("/init", json.dumps({"value": value}).encode(), timeout=PATIENCE, limit=1 << 20)
    assert reply.status == HTTPStatus.OK, reply.body
    return container


async def run(container: Container, **arguments: object) -> Any:
    """Return the result of a run that must succeed."""
    body = json.dumps({"value": arguments}).encode()
    reply = await container.post("/run", body, timeout=PATIENCE, limit=1 << 20)
    assert reply.status == HTTPStatus.OK, reply.body
    return json.loads(reply.body)


async def until(reached: Callable[[], bool]) -> None:
    """Let everything else go on until it has come so far."""
    async with asyncio.timeout(PATIENCE):
        while not reached():
            await asyncio.sleep(0)


def metric(runtime: ContainerRuntime, name: str) -> float:
    """Return what operators are told."""
    ((_, value),) = next(family.samples for family in runtime.metrics() if family.name == name)
    return value


@asynccontextmanager
async def in_trouble(
    place: InvokerPlace, *, swept: bool = True, **more: Seconds
) -> AsyncIterator[tuple[TroubledSocket, DockerRuntime]]:
    """Run a runtime whose engine is reached through trouble, and looked at all the time."""
    limits = {
        "ping_interval": SOON,
        "ping_timeout": Seconds(0.5),
        "inspect_timeout": Seconds(1),
        "reconcile_interval": NEVER,
    }
    async with (
        troubled(place.url) as trouble,
        docker_runtime(place.but(url=trouble.url, **{**limits, **more}).settings) as runtime,
    ):
        if swept:
            await runtime.sweep()
        yield trouble, runtime
