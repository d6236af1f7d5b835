"""Kinds of function, and what runs them (spec 6.3, 6.4, 6.11)."""

from collections.abc import Iterator, Sequence
from typing import Self

import msgspec


class Reactive(msgspec.Struct, frozen=True, kw_only=True):
    """How many prewarmed containers there are as demand comes and goes (spec 6.11.3, 10.6.3)."""

    min_count: int
    max_count: int
    ttl: float
    """Seconds from its creation after which one that nobody needed is removed."""
    threshold: int
    """Cold starts since the last look that ask for `increment` more."""
    increment: int


class PrewarmConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Containers of one kind and memory that are started before anybody asks for them: a manifest's stem cells."""

    count: int
    """How many there are from the start; `reactive` may change it."""
    memory: int
    """Bytes of each."""
    reactive: Reactive | None = None


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """One kind, resolved: `nodejs:20`, never `nodejs:default` (spec 6.3.2)."""

    kind: str
    family: str
    """The part before the colon; for a user's own image `blackbox`."""
    image: str = ""
    """As a container engine names it; empty where the runtime plugin needs none."""
    default: bool = False
    deprecated: bool = False
    require_main: bool = False
    """Functions of this kind must name their entry point (spec 6.3.4)."""
    sentinelled_logs: bool = True
    """The proxy ends each activation's output with the sentinel on both streams (spec 9.11.1)."""
    concurrent: bool | None = None
    """Whether the proxy keeps activations that run at the same time apart; `None`: as one of its family does."""
    pull: bool = False
    """The image must be pulled before a container is created (spec 10.8)."""
    prewarm: tuple[PrewarmConfig, ...] = ()

    @property
    def shareable(self) -> bool:
        """Whether several activations may be in one container (spec 10.12).

        Node.js proxies can do that; actionloop gives callers each other's results.
        """
        return self.family == "nodejs" if self.concurrent is None else self.concurrent


class Runtimes:
    """The kinds this invoker runs: the operator's manifest, or what the machine has."""

    def __init__(self, runtimes: Sequence[Runtime], native_images: Sequence[str] = ()) -> None:
        self._by_kind = {runtime.kind: runtime for runtime in runtimes}
        self._defaults = _defaults(runtimes)
        self._native_images = frozenset(native_images)

    def resolve(self, kind: str) -> Runtime | None:
        """Return what runs `kind`, which may be `<family>:default`; `None` if nothing does."""
        family, _, version = kind.partition(":")
        return self._defaults.get(family) if version == "default" else self._by_kind.get(kind)

    def blackbox(self, image: str) -> Runtime:
        """Return what runs a user's own `image`: pulled and without sentinels, unless listed as native (6.4.3)."""
        tagged = image if ":" in image.rsplit("/", 1)[-1] else f"{image}:latest"
        native = tagged in self._native_images
        return Runtime(kind="blackbox", family="blackbox", image=image, sentinelled_logs=native, pull=not native)

    def without_prewarm(self) -> Self:
        """Return the same kinds, of which nothing is started ahead."""
        runtimes = [msgspec.structs.replace(runtime, prewarm=()) for runtime in self]
        return type(self)(runtimes, tuple(self._native_images))

    def __iter__(self) -> Iterator[Runtime]:
        return iter(self._by_kind.values())

    def __len__(self) -> int:
        return len(self._by_kind)


def _defaults(runtimes: Sequence[Runtime]) -> dict[str, Runtime]:
    """Each family's default: the one marked, or the only one (spec 6.11.1)."""
    families: dict[str, list[Runtime]] = {}
    for runtime in runtimes:
        families.setdefault(runtime.family, []).append(runtime)
    chosen = {
        family: [one for one in members if one.default] or (members if len(members) == 1 else [])
        for family, members in families.items()
    }
    return {family: members[0] for family, members in chosen.items() if members}
