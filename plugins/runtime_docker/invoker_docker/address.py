"""Where a daemon listens: a Unix socket, or a host and a port."""

import re
from typing import Final, Self

import msgspec

_UNIX: Final = re.compile(r"unix://(?P<path>/[^\0]+)")
_TCP: Final = re.compile(r"tcp://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?/?", re.ASCII)
_LAST_PORT: Final = 65535
_PLAIN_PORT: Final = 2375
_TLS_PORT: Final = 2376  # both are the engine's own defaults


class DaemonAddress(msgspec.Struct, frozen=True):
    """A Unix socket's `path`, or `host` and `port`."""

    path: str | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, url: str, *, tls: bool = False) -> Self:
        """Read `unix:///path` or `tcp://host[:port]`.

        Raises:
            ValueError: says what would be an address.
        """
        if unix := _UNIX.fullmatch(url):
            return cls(path=unix["path"])
        tcp = _TCP.fullmatch(url)
        port = 0 if tcp is None else int(tcp["port"] or (_TLS_PORT if tls else _PLAIN_PORT))
        if tcp is None or not 0 < port <= _LAST_PORT:
            raise ValueError(f"expected 'unix:///var/run/docker.sock' or 'tcp://host:2376', got {url[:60]!r}")
        return cls(host=tcp["six"] or tcp["host"], port=port)

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        if self.path is not None:
            return f"unix://{self.path}"
        return f"tcp://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as a URL and a Host header have them; a Unix socket has `localhost`."""
        if self.path is not None:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
