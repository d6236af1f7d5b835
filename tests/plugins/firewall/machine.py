"""A machine in miniature, of network namespaces: itself, two containers behind a bridge, and the world outside.

What is true of packets here is true of packets of a container engine: a container's network is a namespace behind a
bridge there as well.
"""

import errno
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from tests.plugins.firewall.namespaces import Namespace, add_address, ip, new_namespace

BRIDGE = "invtest0"
PORT = 5432

HOST = {4: "172.30.5.1", 6: "fd5e:1::1"}
"""The bridge's own address, which is the containers' gateway."""
FIRST = {4: "172.30.5.2", 6: "fd5e:1::2"}
SECOND = {4: "172.30.5.3", 6: "fd5e:1::3"}
"""Containers."""
OTHER_HOST = {4: "10.77.0.1", 6: "fd77::1"}
"""Another address of the machine."""
PRIVATE = {4: "10.77.0.2", 6: "fd77::2"}
METADATA = {4: "169.254.169.254", 6: "fd00:ec2::254"}
PUBLIC = {4: "192.31.196.200", 6: "2620:4f:8000::200"}  # AS112's (RFC 7535): nobody misses them
TRANSLATED = "64:ff9b::a4d:2"  # 10.77.0.2 behind NAT64
TRANSLATED_PUBLIC = "64:ff9b::c01f:c4c8"  # 192.31.196.200

Fate: TypeAlias = Literal["reached", "rejected", "nobody there", "lost"]

_PATIENCE = 5.0
_TRIES = 5
_FATES: dict[int | None, Fate] = {
    errno.EHOSTUNREACH: "rejected",  # by ICMP's "administratively prohibited"
    errno.EACCES: "rejected",  # the same of ICMPv6
    errno.ECONNREFUSED: "nobody there",
}


class Machine:
    """The namespaces, and what goes from one to another."""

    def __init__(self, host: Namespace, first: Namespace, second: Namespace, outside: Namespace) -> None:
        self.host = host
        self.first = first
        self.second = second
        self.outside = outside
        self.patience = _PATIENCE
        """Seconds until a packet is taken for lost."""

    def connects(self, source: Namespace, address: str, target: Namespace, port: int = PORT) -> Fate:
        """Try a TCP connection to a listener in another namespace."""
        with self.listening(target, address, port), source.entered(), _socket(address, socket.SOCK_STREAM) as caller:
            try:
                caller.connect((address, port))
            except TimeoutError:
                return "lost"
            except OSError as error:
                return _FATES[error.errno]
            return "reached"

    def sends(
        self, source: Namespace, address: str, target: Namespace, port: int = PORT, *, bound: str | None = None
    ) -> Fate:
        """Try a UDP packet to a socket in another namespace, and one back; `bound` is for one that is redirected."""
        with self.conversing(source, address, target, port, bound=bound) as say:
            return say()

    @contextmanager
    def conversing(
        self, source: Namespace, address: str, target: Namespace, port: int = PORT, *, bound: str | None = None
    ) -> Iterator[Callable[[], Fate]]:
        """Open UDP sockets in two namespaces; what is yielded sends a packet and one back."""
        with target.entered():
            server = _socket(address, socket.SOCK_DGRAM)
            server.bind((bound or address, port))
        with source.entered():
            caller = _socket(address, socket.SOCK_DGRAM)
        with server, caller:
            caller.connect((address, port))

            def say() -> Fate:
                for _ in range(_TRIES):  # on a link that is new one may be lost, with IPv6
                    caller.send(b"?")
                    readable, _, _ = select.select([server, caller], [], [], self.patience / _TRIES)
                    if readable:
                        break
                else:
                    return "lost"
                try:
                    if server in readable:
                        server.sendto(b"!", server.recvfrom(1)[1])
                    caller.recv(1)
                except OSError as error:
                    return _FATES[error.errno]
                return "reached"

            yield say

    def goes(self, source: Namespace, address: str, target: Namespace, port: int = PORT) -> Fate:
        """Try TCP over IPv4, or UDP over IPv6.

        A rejected TCP connection over IPv6 takes a second: the kernel heeds only the answer to its second packet.
        """
        attempt = self.sends if ":" in address else self.connects
        return attempt(source, address, target, port)

    def asks(self, address: str) -> bool:
        """Have the machine ask a server in the first container, as an invoker does; return whether it has an answer."""
        with (
            self.listening(self.first, address, 8080) as listener,
            self.host.entered(),
            _socket(address, socket.SOCK_STREAM) as caller,
        ):
            caller.connect((address, 8080))
            answerer, _ = listener.accept()
            with answerer:
                answerer.settimeout(_PATIENCE)
                caller.sendall(b"?")
                answerer.sendall(answerer.recv(1))
            return caller.recv(1) == b"?"

    @contextmanager
    def listening(self, place: Namespace, address: str, port: int) -> Iterator[socket.socket]:
        with place.entered():
            listener = _socket(address, socket.SOCK_STREAM)
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen()
            yield listener


def _socket(address: str, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.settimeout(_PATIENCE)
    return made


@contextmanager
def a_machine() -> Iterator[Machine]:
    """Build one, and be in its own namespace, where the firewall is to be."""
    with ExitStack() as stack:
        host, first, second, outside = (stack.enter_context(new_namespace()) for _ in range(4))
        stack.enter_context(host.entered())
        _route()
        ip(f"link add {BRIDGE} type bridge")
        for version, bits in ((4, 24), (6, 64)):
            add_address(f"{HOST[version]}/{bits}", BRIDGE)
        ip(f"link set {BRIDGE} up")
        for number, (container, addresses) in enumerate(((first, FIRST), (second, SECOND))):
            _plug(f"port{number}", container, addresses, HOST)
            ip(f"link set port{number} master {BRIDGE}")
        _plug("out0", outside, PRIVATE, OTHER_HOST)
        for version, bits in ((4, 24), (6, 64)):
            add_address(f"{OTHER_HOST[version]}/{bits}", "out0")
        _world(outside)
        yield Machine(host, first, second, outside)


def _world(outside: Namespace) -> None:
    beyond = [(version, each[version]) for each in (METADATA, PUBLIC) for version in (4, 6)]
    for version, address in (*beyond, (6, TRANSLATED), (6, TRANSLATED_PUBLIC)):
        with outside.entered():
            add_address(address, "lo")
        ip(f"route add {address} via {PRIVATE[version]}")


def _plug(port: str, other: Namespace, addresses: dict[int, str], gateways: dict[int, str]) -> None:
    """Connect another namespace to a new interface of this one, and have it send everything there."""
    ip(f"link add {port} type veth peer name eth0 netns {other.path}")
    ip(f"link set {port} up")
    with other.entered():
        ip("link set eth0 up")
        for version, bits in ((4, 24), (6, 64)):
            add_address(f"{addresses[version]}/{bits}", "eth0")
            ip(f"-{version} route add default via {gateways[version]}")


def _route() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
    for version in (4, 6):
        see_bridged(version, "1")


def see_bridged(version: int, value: str) -> None:
    """Have packets between two ports of a bridge come by the packet filter, or not."""
    program = "iptables" if version == 4 else "ip6tables"
    Path(f"/proc/sys/net/bridge/bridge-nf-call-{program}").write_text(value)
