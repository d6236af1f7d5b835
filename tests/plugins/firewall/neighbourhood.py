"""Real containers of a real engine, and a world outside of this machine that is made for them."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from http import HTTPStatus
from typing import Any, Final

from tests.plugins.firewall.namespaces import Namespace, add_address, ip, new_namespace
from tests.services.containers import engine_command
from tests.services.docker import EngineConnection

OUTSIDE: Final = "10.213.77.2"
"""A private address that isn't this machine's."""
OWN: Final = "10.213.77.1"
"""One of this machine's own, beside the bridge's."""
METADATA: Final = "169.254.169.254"
PUBLIC: Final = "192.31.196.200"  # AS112's (RFC 7535): nobody misses it for a moment
PORT: Final = 5432
LABEL: Final = "invoker-tests.firewall=1"

_SERVE: Final = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/tmp"]
_ANSWER: Final = b"\x81\x80\0\1\0\1\0\0\0\0"
_RECORD: Final = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton("192.31.196.7")


class Neighbourhood:
    """Two containers on a network of their own, and addresses that they might reach."""

    def __init__(self, url: str, bridge: str, first: str, second: str) -> None:
        self._url = url
        self.bridge = bridge
        self.first = first
        self.second = second
        """Names of the containers."""

    async def address(self, *, second: bool = False, of: str = "IPAddress") -> str:
        """What the engine says of a container's address, or of its gateway."""
        template = f"{{{{range .NetworkSettings.Networks}}}}{{{{.{of}}}}}{{{{end}}}}"
        return await engine_command(self._url, "inspect", "--format", template, self.second if second else self.first)

    async def reaches(self, address: str, port: int = PORT) -> bool:
        """Have the first container connect; what doesn't is answered at once, or this fails."""
        said = await self.does(f"/bin/busybox nc -w 20 {address} {port} </dev/null && echo reached")
        assert "reached" in said or "No route to host" in said, said
        return "reached" in said

    async def resolves(self, name: str = "some.example.org.", server: str = "") -> bool:
        """Have the first container ask for the address of a name."""
        return "Name:" in await self.does(f"/bin/busybox nslookup -timeout=1 -retry=1 -type=a {name} {server}")

    async def does(self, command: str) -> str:
        """Run something in the first container."""
        return await engine_command(self._url, "exec", self.first, "/bin/sh", "-c", f"({command}) 2>&1; true")


@asynccontextmanager
async def a_neighbourhood(url: str, image: str) -> AsyncIterator[Neighbourhood]:
    """Start all of it; it is gone afterwards, whatever happens in between."""
    name = f"invoker-fw-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_outside(f"fw{name[-8:]}"))
        bridge = f"{name[-8:]}br"
        option = f"com.docker.network.bridge.name={bridge}"
        await engine_command(url, "network", "create", "--label", LABEL, "--opt", option, name)
        stack.push_async_callback(engine_command, url, "network", "rm", name)
        containers = [f"{name}-{number}" for number in (1, 2)]
        for container in containers:
            options = [*f"--network {name} --dns {OUTSIDE} --label {LABEL} --cap-drop ALL".split()]
            options += ["--ulimit", "nofile=1024:1024", "--name", container]
            await engine_command(url, "run", "--detach", *options, image, *_SERVE)
            stack.push_async_callback(engine_command, url, "rm", "--force", container)
        yield Neighbourhood(url, podman_interface(url, name) or bridge, *containers)


def podman_interface(url: str, network: str) -> str | None:
    """Podman's own name for a network's bridge: version 4.3 takes none."""
    with closing(EngineConnection(url)) as connection:
        connection.request("GET", f"/v4.0.0/libpod/networks/{network}/json")
        response = connection.getresponse()
        said = response.read()
    return str(json.loads(said)["network_interface"]) if response.status == HTTPStatus.OK else None


@asynccontextmanager
async def _outside(port: str) -> AsyncIterator[None]:
    """Serve at every address, this machine's as well; what is outside is behind an interface called `port`."""
    with new_namespace() as outside:
        ip(f"link add {port} type veth peer name eth0 netns {outside.path}")
        add_address(f"{OWN}/30", port)
        ip(f"link set {port} up")
        with outside.entered():
            add_address(f"{OUTSIDE}/30", "eth0")
            ip("link set eth0 up")
            ip(f"route add default via {OWN}")
            for address in (METADATA, PUBLIC):
                add_address(f"{address}/32", "lo")
        for address in (METADATA, PUBLIC):
            ip(f"route add {address}/32 via {OUTSIDE}")
        try:
            async with AsyncExitStack() as stack:
                await _serve(stack, outside)
                yield
        finally:
            ip(f"link del {port}")


async def _serve(stack: AsyncExitStack, outside: Namespace) -> None:
    """Answer TCP at all addresses of this machine and outside, and questions for names outside."""
    listener = socket.create_server(("", PORT))
    with outside.entered():
        listener_outside = socket.create_server(("", PORT))
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind(("", 53))
    for each in (listener, listener_outside):
        await stack.enter_async_context(await asyncio.start_server(_greet, sock=each))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(NameServer, sock=names)
    stack.callback(transport.close)


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    writer.close()
    await writer.wait_closed()


class NameServer(asyncio.DatagramProtocol):
    """Knows one address, for every name."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        self.transport.sendto(data[:2] + _ANSWER + question + _RECORD, address)
