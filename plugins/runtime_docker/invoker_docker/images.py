"""Images: what they are called, which kinds they run, and that they are on the engine before a container is created."""

import asyncio
import functools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import msgspec

from invoker.entities.runtimes import Runtime, Runtimes
from invoker.errors import SettingsError, StartFailed
from invoker.wire import names
from invoker_docker.engine import EngineClient
from invoker_docker.failures import EngineDown, EngineError
from invoker_docker.registries import HUB, RegistryConfig
from invoker_docker.settings import LABEL_PREFIX

LATEST: Final = "latest"
KIND_LABEL: Final = f"{LABEL_PREFIX}kind"  # one kind or several, with spaces between: `python:3 python:3.11`
DEFAULT_LABEL: Final = f"{LABEL_PREFIX}default"  # `true`: the first of them is its family's default
SENTINELS_LABEL: Final = f"{LABEL_PREFIX}sentinels"  # `true`: the proxy ends each activation's output so (spec 9.11.1)
HOMES: Final = ("functions-invoker", "localhost/functions-invoker")
"""Where an image with these labels must be: `functions-invoker/python` for kinds of `python`. The other is podman's."""

_REMEDY: Final = {
    "never": 'docker.pull = "never" forbids to fetch it: build, pull or load it there, or set docker.pull = "missing"',
    "missing": "it can't be pulled: load it there, or correct the runtimes manifest",
    "always": 'it can\'t be pulled, as docker.pull = "always" asks: see to its registry, or set it to "missing"',
}
_HUB: Final = re.compile(r"(?:index\.)?docker\.io/")
_REGISTRY: Final = re.compile(r"[^/]*[.:][^/]*/|localhost/")  # what the first part must look like to be one
_TOKEN: Final = re.compile(r"\*\*|\*|\?|.", re.DOTALL)
_WILD: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}

logger = logging.getLogger("invoker.docker")


class ImageReference(msgspec.Struct, frozen=True):
    """An image's name, with a registry or without one for Docker's own, and its tag."""

    name: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name that may have a tag, or raise `ValueError`; a digest is dropped (spec 6.4.1)."""
        text = names.image_name(text, "the image")
        name, colon, tag = text.rpartition(":")
        return cls(name, tag) if colon and "/" not in tag else cls(text, LATEST)

    @property
    def tagged(self) -> str:
        """Name and tag, which can't be taken for the id of an image that somebody else brought."""
        return f"{self.name}:{self.tag}"

    @property
    def registry(self) -> str:
        """Where it comes from: host and port."""
        found = None if _HUB.match(self.name) else _REGISTRY.match(self.name)
        return HUB if found is None else found[0].removesuffix("/")

    def fits(self, pattern: str) -> bool:
        """Return whether a pattern is for this image; one without a tag is for every tag.

        `*` and `?` stand for anything within a part of the name, `**` for slashes as well: "*.example.org/**" isn't for
        "example.com/x.example.org/y". Docker's own images fit with their registry and without it.
        """
        wanted = _compiled(pattern)
        return any(wanted.fullmatch(text) for name in self._spellings() for text in (name, f"{name}:{self.tag}"))

    def _spellings(self) -> tuple[str, ...]:
        hub = _HUB.match(self.name)
        if hub is None and _REGISTRY.match(self.name):
            return (self.name,)
        path = self.name[hub.end() if hub else 0 :]
        if "/" not in path:
            return (path, f"library/{path}", f"docker.io/library/{path}")
        return (path, f"docker.io/{path}", path.removeprefix("library/"))


@functools.cache  # as many as an operator has written
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(_WILD.get(token, re.escape(token)) for token in _TOKEN.findall(pattern)))


_Wanted: TypeAlias = tuple[ImageReference, Path | None]
"""An image, and the file with credentials: who may not use them doesn't join who does."""


class EngineImages:
    """The images that an engine has. Owns the pulls: each runs as a task in the group given, and never fails it."""

    def __init__(self, engine: EngineClient, tasks: asyncio.TaskGroup) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._tasks = tasks
        self.pulls: dict[_Wanted, asyncio.Task[EngineError | None]] = {}  # those that somebody waits for
        self._waiting: Counter[_Wanted] = Counter()  # how many wait for each
        self.failed = 0  # pulls so far

    async def ensure(self, runtime: Runtime) -> None:
        """Return when the engine has the image, as new as the settings ask for (spec 10.8).

        An image that an action names itself is its developer's business, whatever goes wrong with it (T12).

        Raises:
            StartFailed: there is no such image, or it isn't allowed.
            EngineDown: the engine doesn't answer.
        """
        reference = self._reference(runtime)
        policy = self._settings.pull_user_images if runtime.pull else self._settings.pull
        if policy != "always" and await self._engine.image_exists(reference.tagged):
            return
        if policy == "never":
            raise self._failed(runtime, "it isn't there")
        config = self._settings.registry_config
        if runtime.pull and self._settings.images_allowed is None:  # anybody could have the operator's images run
            config = None
        refusal = await self._pulled((reference, config))
        if refusal is None:
            return
        # One that may be old is as good as none, but for a tag that never means another image (spec 10.8.2).
        if policy == "always" and reference.tag != LATEST and await self._engine.image_exists(reference.tagged):
            logger.warning("the image %s is used as it is, since it can't be pulled: %s", reference.tagged, refusal)
            return
        raise self._failed(runtime, refusal)

    async def lacking(self, kinds: Iterable[Runtime]) -> Sequence[str]:
        """Return which images aren't there and won't be fetched, and the kinds that can't run without.

        Raises:
            EngineDown: the engine doesn't answer.
        """
        if self._settings.pull != "never":
            return ()
        wanted: dict[str, list[str]] = {}
        for runtime in kinds:
            wanted.setdefault(runtime.image or "", []).append(runtime.kind)
        lacking = []
        for image, used_by in wanted.items():
            try:
                if not await self._engine.image_exists(ImageReference.parse(image).tagged):
                    lacking.append(
                        f"the engine lacks the image {image} for {', '.join(used_by)}, and {_REMEDY['never']}"
                    )
            except (EngineError, ValueError) as error:  # what it can't tell, whoever wants the image will learn
                if isinstance(error, EngineDown):
                    raise
        return lacking

    def _reference(self, runtime: Runtime) -> ImageReference:
        if not runtime.image:
            raise StartFailed(f"the kind {runtime.kind!r} has no image: name one in the runtimes manifest")
        try:
            reference = ImageReference.parse(runtime.image)
        except ValueError:
            raise self._failed(runtime, "that is no name of an image") from None
        allowed = self._settings.images_allowed
        if runtime.pull and allowed is not None and not any(reference.fits(pattern) for pattern in allowed):
            raise StartFailed(
                f"docker.images_allowed doesn't have the image {runtime.image!r}",
                developer_fault=True,
                public=f"The container image '{runtime.image}' is not allowed here.",
            )
        return reference

    def _failed(self, runtime: Runtime, reason: str) -> StartFailed:
        if runtime.pull:
            public = f"Failed to pull container image '{runtime.image}'."  # spec 11.1, imagePullError
            return StartFailed(f"image {runtime.image!r}: {reason}", developer_fault=True, public=public)
        return StartFailed(
            f"the engine lacks the image {runtime.image!r} of the kind {runtime.kind!r} ({reason}), "
            f"and {_REMEDY[self._settings.pull]}"
        )

    async def _pulled(self, wanted: _Wanted) -> str | None:
        """Pull an image, or wait for whoever does; return why there is none. Raises only `EngineDown`."""
        image = wanted[0].tagged
        pull = self.pulls.get(wanted)
        if pull is None:
            pull = self.pulls[wanted] = self._tasks.create_task(self._pull(*wanted), name=f"pull {image}")
        self._waiting[wanted] += 1
        try:
            await asyncio.wait({pull})
        finally:
            self._waiting[wanted] -= 1
            if not self._waiting[wanted]:  # nobody joins one that is over, or that nobody wants any more
                del self._waiting[wanted], self.pulls[wanted]
                pull.cancel()
        if pull.cancelled():
            raise StartFailed(f"the image {image} was being pulled when the invoker stopped")
        error = pull.result()
        if isinstance(error, EngineDown):
            raise EngineDown(error.message)
        return None if error is None else error.message

    async def _pull(self, reference: ImageReference, config: Path | None) -> EngineError | None:
        try:
            authority = None if config is None else await RegistryConfig.read(config).header(reference.registry)
            await self._engine.pull(reference.tagged, authority)
        except (EngineError, SettingsError) as error:
            self.failed += 1
            return error if isinstance(error, EngineError) else EngineError(None, str(error))
        return None


def local_kinds(images: Iterable[Mapping[str, Any]]) -> Runtimes:
    """Return the kinds that images run by their labels, from their summaries; of two, what was made last runs one."""
    found: dict[str, Runtime] = {}
    for image in sorted(images, key=lambda each: int(each.get("Created") or 0), reverse=True):
        for runtime in _runtimes(image):
            other = found.setdefault(runtime.kind, runtime)
            if other is not runtime:
                logger.info("kind %s: the image %s is newer than %s", other.kind, other.image, runtime.image)
    return Runtimes(list(found.values()))


def _runtimes(image: Mapping[str, Any]) -> Iterator[Runtime]:
    labels = image.get("Labels") or {}
    for position, kind in enumerate(str(labels.get(KIND_LABEL) or "").split()):
        family, _, version = kind.partition(":")
        name = _name(family, image.get("RepoTags") or ())
        if name and version and version != "default":
            yield Runtime(
                kind=kind,
                family=family,
                image=name,
                default=position == 0 and labels.get(DEFAULT_LABEL) == "true",
                sentinelled_logs=labels.get(SENTINELS_LABEL) == "true",
            )


def _name(family: str, tags: Iterable[object]) -> str | None:
    """Return the name under which an image may offer kinds of a family: labels alone say nothing, any may have them."""
    for tag in map(str, tags):
        try:
            reference = ImageReference.parse(tag)
        except ValueError:  # one that has lost its name is listed as `<none>:<none>`
            continue
        if any(reference.fits(f"{home}/{family}") for home in HOMES):
            return tag
    return None
