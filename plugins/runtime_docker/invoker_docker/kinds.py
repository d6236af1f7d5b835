"""The kinds of action that images on the engine run: they say so by their labels, so that no manifest is needed."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from invoker.entities.runtimes import Runtime, Runtimes
from invoker_docker.references import ImageReference
from invoker_docker.settings import LABEL_PREFIX

KIND_LABEL: Final = f"{LABEL_PREFIX}kind"
"""One kind or several, with spaces between: `python:3 python:3.11`."""
DEFAULT_LABEL: Final = f"{LABEL_PREFIX}default"
"""`true`: the first of them is its family's default."""
SENTINELS_LABEL: Final = f"{LABEL_PREFIX}sentinels"
"""`true`: the proxy ends each activation's output with sentinels (spec 9.11.1)."""

HOMES: Final = ("functions-invoker", "localhost/functions-invoker")
"""Where such an image must be: `functions-invoker/python` for kinds of the family `python`. The other is podman's."""

logger = logging.getLogger("invoker.docker")


def local_kinds(images: Iterable[Mapping[str, Any]]) -> Runtimes:
    """Return what the summaries of images offer; of two with one kind, the one that was made last."""
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
    """Return the name under which an image may offer kinds of a family, if it has one.

    Labels alone say nothing: what is built from one of these images inherits them, and any image that an action names
    itself may have them.
    """
    for tag in map(str, tags):
        try:
            reference = ImageReference.parse(tag)
        except ValueError:  # one that has lost its name is listed as `<none>:<none>`
            continue
        if any(reference.fits(f"{home}/{family}") for home in HOMES):
            return tag
    return None
