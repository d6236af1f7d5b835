"""The section `[docker]`."""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import msgspec

from invoker import Section, SettingsSection
from invoker.units import ByteSize, Seconds

Pull: TypeAlias = Literal["missing", "never", "always"]
FileSystem: TypeAlias = Literal["image", "strict"]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

LABEL_PREFIX: Final = "functions-invoker."
"""Of the labels that are the invoker's own; nobody else's labels may begin so."""

_MOST_PIDS: Final = 1 << 22  # the kernel's own most (PID_MAX_LIMIT); beyond it no container starts

_NETWORK: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", re.ASCII)  # the kernel allows 15 characters
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?", re.ASCII)
_VARIABLE: Final = re.compile(r"[^=\0]{1,256}")
_RESERVED_LABELS: Final = ("com.docker.", "io.docker.", "org.dockerproject.", "io.podman.", LABEL_PREFIX)
_PATTERN: Final = re.compile(r"[\w./:*?-]+", re.ASCII)
_DIRECTORY: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/\0:,]+)+")  # absolute and normal; a colon would end it
_ENGINES_OWN: Final = ("docker0", "podman0", "cni-podman0")  # Docker 20.10 gives docker0 a second network's address
_NO_NETWORK: Final = {
    "host": "actions would share the machine's own network, and none has an address of its own there",
    "none": "actions would have no address, and nothing could be sent to them",
    "default": "which network that is differs between engines: name it",
}
_PROTECTED: Final[Mapping[str, str]] = {
    "name": "the invoker finds its containers by it",
    "image": "it is the action's",
    "labels": "set docker.labels",
    "tty": "both outputs would come mixed",
    "networkdisabled": "nothing could be sent to an action without a network",
    "networkingconfig": "set docker.network",
    "hostconfig.networkmode": "set docker.network",
    "hostconfig.memory": "it is the action's limit, and the pool counts with it: set pool.memory",
    "hostconfig.memoryswap": "the pool counts with memory alone",
    "hostconfig.oomkilldisable": "an action that exhausts its memory would hang instead of ending",
    "hostconfig.autoremove": "the invoker removes its containers, and asks before how they ended",
    "hostconfig.restartpolicy": "what has ended must stay so: another container may have its address by then",
    "hostconfig.runtime": "set docker.oci_runtime",
    "hostconfig.privileged": "actions would own the machine: give them what they need with CapAdd or Devices",
    "hostconfig.pidmode": "actions would reach processes outside of their container",
    "hostconfig.ipcmode": "actions would share memory outside of their container",
}
"""What `extra` can't replace, and why or what to do instead: accounting, ownership and isolation depend on it. In lower
case, for engines don't mind."""

_UNIX: Final = re.compile(r"unix://(?P<path>/[^\0]+)")
_TCP: Final = re.compile(r"tcp://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[\w.-]+))(?::(?P<port>\d{1,5}))?/?", re.ASCII)
_LAST_PORT: Final = 65535
_PLAIN_PORT, _TLS_PORT = 2375, 2376  # the engine's own defaults


class EngineAddress(msgspec.Struct, frozen=True):
    """Where an engine listens: a Unix socket's `path`, or `host` and `port`."""

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

    @property
    def authority(self) -> str:
        """Host and port as a URL and a Host header have them; a Unix socket has `localhost`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return "localhost" if self.path is not None else f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether the engine's machine is this one, as far as the address tells."""
        near = self.path is not None or self.host == "localhost"
        return near or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)


class DockerSettings(Section, frozen=True, kw_only=True):
    """How actions run in containers of a Docker engine, or of podman's Docker-compatible service."""

    url: str = "unix:///var/run/docker.sock"
    """Where the engine listens: unix:///path or tcp://host:port. DOCKER_HOST isn't read."""
    tls_ca: Path | None = None
    """Authority that the engine's certificate must come from; by default those the system trusts.
    Any of these three files makes tcp:// encrypted."""
    tls_cert: Path | None = None
    """The invoker's own certificate, for an engine that asks for one."""
    tls_key: Path | None = None
    """Its private key, not encrypted."""
    network: str = "functions-invoker"
    """Network of the containers: created if it is missing, used as it is if not."""
    bridge: str = "invoker0"
    """Interface of that network on this machine, where it is created; at most 15 characters."""
    pull: Pull = "missing"
    """When images of the runtimes manifest are pulled."""
    pull_user_images: Pull = "always"
    """When images that actions name themselves are pulled: always is before each start (spec 10.8.2)."""
    images_allowed: tuple[str, ...] | None = None
    """Which images actions may name themselves, such as "registry.example.org/team/*"; without this setting, any.
    `*` stands for anything without a slash, `**` for anything; a pattern without a tag is for every tag."""
    registry_config: Annotated[Path, msgspec.Meta(examples=["~/.docker/config.json"])] | None = None
    """File with the credentials of registries, as `docker login` writes it, or that names credential helpers; read at
    each pull. They are used for images that actions name themselves only where `images_allowed` says which."""
    file_system: FileSystem = "image"
    """What actions may write: the image's own file system, or with "strict" nothing but /tmp and `writable`."""
    file_systems: dict[str, FileSystem] = msgspec.field(default_factory=dict)
    """The same for some images only, by pattern; the first that fits counts."""
    writable: tuple[str, ...] = ()
    """Directories that can be written under "strict", beside /tmp.
    All of them live in memory, and together get at most half of the container's."""
    oci_runtime: Annotated[str, msgspec.Meta(min_length=1, examples=["runsc"])] | None = None
    """What the engine runs containers with, if not its default: a name from its configuration."""
    storage: ByteSize = ByteSize(4 << 30)
    """How much an action may write into its image's file system, where the engine's storage can bound that: overlay2 on
    xfs with pquota, zfs, and btrfs, which counts the image as well."""
    cpus: Annotated[float, msgspec.Meta(gt=0, examples=[4.0])] | None = None
    """Processors that all containers together may use, shared by memory; without it they share what there is."""
    dns: tuple[str, ...] = ()
    """Addresses of the containers' name servers; by default the engine's."""
    dns_search: tuple[str, ...] = ()
    """Domains in which they look for names without a dot."""
    dns_options: tuple[str, ...] = ()
    """What else their resolv.conf says, such as "ndots:1"."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels of every container, beside the invoker's own."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables that every action has in its environment."""
    pids: Annotated[int, msgspec.Meta(ge=1, le=_MOST_PIDS)] = 1024
    """Processes and threads in one container."""
    open_files: Count = 1024
    """Files that one process may have open."""
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """What else to ask for when a container is created, in the API's own words: {HostConfig = {ShmSize = 8388608}}.
    It wins over everything else here: tables merge, all else is replaced (spec 10.7.5). Only what would undo the
    invoker's own work is refused; an engine ignores a key that it doesn't know, such as a misspelt one."""
    create_timeout: Seconds = Seconds(60)
    """How long the engine may take to create a container, or the network."""
    start_timeout: Seconds = Seconds(60)
    """How long it may take to start one."""
    inspect_timeout: Seconds = Seconds(10)
    """How long it may take to answer a question."""
    pause_timeout: Seconds = Seconds(10)
    """How long it may take to pause a container, or to resume it."""
    remove_timeout: Seconds = Seconds(60)
    """How long it may take to kill and remove a container."""
    pull_timeout: Seconds = Seconds(600)
    """How long it, and the registry, may take to pull an image."""
    ping_interval: Seconds = Seconds(5)
    """Between the end of one look at whether the engine lives and the next."""
    ping_timeout: Seconds = Seconds(3)
    """How long it may take to say that it lives."""
    reconcile_interval: Seconds = Seconds(60)
    """Between two comparisons of the engine's containers with the invoker's."""

    def __post_init__(self) -> None:
        """Check what a field's type can't say."""
        faults = [*self._connection_faults(), *self._network_faults(), *self._text_faults(), *self._image_faults()]
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return not (self.tls_ca is None and self.tls_cert is None and self.tls_key is None)

    @property
    def address(self) -> EngineAddress:
        """Where the engine listens."""
        return EngineAddress.parse(self.url, tls=self.tls)

    def _connection_faults(self) -> Iterator[str]:
        try:
            address = self.address
        except ValueError as error:
            yield f"url: {error}"
            return
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls_cert and tls_key belong together: give both, or neither"
        if self.tls and address.path is not None:
            yield "tls_ca, tls_cert and tls_key are for tcp:// only: a Unix socket isn't encrypted"

    def _network_faults(self) -> Iterator[str]:
        if self.network in _NO_NETWORK:
            yield f"network: {self.network!r} can't be used: {_NO_NETWORK[self.network]}"
        elif not _NETWORK.fullmatch(self.network):
            yield f"network: expected letters, digits, '_', '.' and '-', got {self.network[:60]!r}"
        if not _INTERFACE.fullmatch(self.bridge):
            yield f"bridge: expected at most 15 letters, digits, '_', '.' and '-', got {self.bridge[:60]!r}"
        elif self.bridge in _ENGINES_OWN:
            yield f"bridge: {self.bridge!r} is the engine's own: name another, or set docker.network to 'bridge'"
        for server in self.dns:
            if not _is_address(server):
                yield f"dns: expected an address such as '10.0.0.53', got {server[:60]!r}"

    def _text_faults(self) -> Iterator[str]:
        for name in self.labels:
            if not _LABEL.fullmatch(name):
                yield f"labels: expected a name of letters, digits, '.', '_', '/' and '-', got {name[:60]!r}"
            elif name.startswith(_RESERVED_LABELS):
                yield f"labels: {name!r} is reserved, as all names with {', '.join(_RESERVED_LABELS)} in front"
        for name, value in self.environment.items():
            if not _VARIABLE.fullmatch(name):
                yield f"environment: {name[:60]!r} is no name of a variable"
            elif "\0" in value:
                yield f"environment: the value of {name} has a zero byte in it"

    def _image_faults(self) -> Iterator[str]:
        for pattern in (*(self.images_allowed or ()), *self.file_systems):
            if not _PATTERN.fullmatch(pattern):
                yield f"images_allowed and file_systems: {pattern[:60]!r} is no pattern for names of images"
        for path in self.writable:
            if not _DIRECTORY.fullmatch(path) or path == "/tmp":  # noqa: S108 (it is there anyway)
                yield f"writable: expected an absolute path, not /tmp, without '..', ':' and ',', got {path!r}"
        if len(set(self.writable)) < len(self.writable):
            yield "writable: a path is there twice"
        yield from (f"extra: {fault}" for fault in _extra_faults(self.extra))


def _extra_faults(extra: Mapping[str, Any]) -> Iterator[str]:
    """Return what is wrong with an operator's table; engines don't mind the case of a key."""
    keys = list(extra)
    for name, value in extra.items():
        if name.lower() != "hostconfig":
            continue
        if name != "HostConfig":
            yield f"{name} is spelled HostConfig"
        elif not isinstance(value, Mapping):
            yield "HostConfig: expected a table"
        else:
            keys += [f"HostConfig.{key}" for key in value]
    for key in keys:
        if why := _PROTECTED.get(key.lower()):
            yield f"{key} can't be replaced: {why}"
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"has a value that JSON can't have: {error}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # the interface that an IPv6 address may name would be the container's


SECTION = SettingsSection(name="docker", into=DockerSettings)
