"""Images on the engine: there before a container is created, or a failure that says whose it is (spec 10.8)."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from invoker.entities.runtimes import Runtime
from invoker.errors import StartFailed
from invoker_docker.engine import Engine, EngineDown, EngineError
from invoker_docker.references import LATEST, ImageReference
from invoker_docker.settings import DockerSettings

_REMEDY: Final = {
    "never": 'docker.pull = "never" forbids to fetch it: build, pull or load it there, or set docker.pull = "missing"',
    "missing": "it can't be pulled: load it there, or correct the runtimes manifest",
    "always": 'it can\'t be pulled, as docker.pull = "always" asks: see to its registry, or set it to "missing"',
}

logger = logging.getLogger("invoker.docker")


class Images:
    """Owns the pulls. Each runs as a task in the group given, and never fails it."""

    def __init__(self, engine: Engine, settings: DockerSettings, tasks: asyncio.TaskGroup) -> None:
        self._engine = engine
        self._settings = settings
        self._tasks = tasks
        self._pulls: dict[str, _Pull] = {}
        """Those that somebody waits for, by image."""

    async def ensure(self, runtime: Runtime) -> None:
        """Return when the engine has the image, as new as the settings ask for.

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
        refusal = await self._pulled(reference.tagged)
        if refusal is None:
            return
        # One that may be old is as good as none, but for a tag that never means another image (spec 10.8.2).
        if policy == "always" and reference.tag != LATEST and await self._engine.image_exists(reference.tagged):
            logger.warning("the image %s is used as it is, since it can't be pulled: %s", reference.tagged, refusal)
            return
        raise self._failed(runtime, refusal)

    async def lacking(self, kinds: Iterable[Runtime]) -> Sequence[str]:
        """Return which images aren't there and won't be fetched, and the kinds that can't run without; see `Stocked`.

        Raises:
            EngineDown: the engine doesn't answer.
        """
        if self._settings.pull != "never":
            return ()
        wanted: dict[str, list[str]] = {}
        for runtime in kinds:
            wanted.setdefault(runtime.image or "", []).append(runtime.kind)
        return [
            f"the engine lacks the image {image} for {', '.join(names)}, and {_REMEDY['never']}"
            for image, names in wanted.items()
            if await self._surely_missing(image)
        ]

    async def _surely_missing(self, image: str) -> bool:
        """Whether the engine says that it has no such image; what it can't tell, whoever wants the image will learn."""
        try:
            return not await self._engine.image_exists(ImageReference.parse(image).tagged)
        except EngineDown:
            raise
        except (EngineError, ValueError):
            return False

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

    async def _pulled(self, image: str) -> str | None:
        """Pull an image, or wait for whoever does; return why there is none.

        Raises:
            EngineDown: the engine doesn't answer.
        """
        pull = self._pulls.get(image)
        if pull is None:
            pull = self._pulls[image] = _Pull(self._tasks.create_task(self._pull(image), name=f"pull {image}"))
        pull.waiting += 1
        try:
            await asyncio.wait({pull.task})
        finally:
            pull.waiting -= 1
            if not pull.waiting:  # nobody joins one that is over, or that nobody wants any more
                self._pulls.pop(image, None)
                pull.task.cancel()
        if pull.task.cancelled():
            raise StartFailed(f"the image {image} was being pulled when the invoker stopped")
        error = pull.task.result()
        if isinstance(error, EngineDown):
            raise EngineDown(error.message)
        return None if error is None else error.message

    async def _pull(self, image: str) -> EngineError | None:
        try:
            await self._engine.pull(image)
        except EngineError as error:
            return error
        return None


class _Pull:
    def __init__(self, task: asyncio.Task[EngineError | None]) -> None:
        self.task = task
        self.waiting = 0
