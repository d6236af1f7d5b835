"""The operator's manifest: upstream's JSON of the kinds of action and their images (spec 6.11)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from invoker.entities.runtimes import PrewarmConfig, Reactive, Runtime, Runtimes
from invoker.errors import SettingsError
from invoker.units import ByteSize
from invoker.wire import names
from invoker.wire.manifest_shapes import (
    DURATION,
    EXAMPLE,
    SECONDS,
    Attached,
    Cell,
    Image,
    Manifest,
    Positive,
    Reaction,
    Version,
    no_json,
    shown,
    strangers,
    wanted,
)

S = TypeVar("S", bound=msgspec.Struct)


def read(text: bytes, file: str = "", *, warn: Callable[[str], object] | None = None) -> Runtimes:
    """Read a manifest. `warn` is told of every key that nothing asks for: upstream ignores these, and so does this.

    Raises:
        SettingsError: it can't be used; has one line for every fault, with `file`, its place in it and what to do.
    """
    source = f"runtimes.manifest: {file}" if file else "runtimes.manifest"
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError([f"{source}: {no_json(text, error)}"]) from None
    reading = _Reading()
    runtimes = list(reading.manifest(given))
    if not (reading.faults or runtimes or reading.native_images):
        reading.faults.append(
            f"lists neither a kind nor an image, so that nothing could run: it must be like {EXAMPLE}; "
            "or leave runtimes.manifest out, for what the container runtime offers of its own accord"
        )
    if reading.faults:
        raise SettingsError([f"{source}: {fault}" for fault in reading.faults])
    if warn is not None:
        for stranger in reading.strangers:
            warn(f"{source}: {stranger}")
    return Runtimes(runtimes, reading.native_images)


class _Reading:
    """Collects runtimes and faults; after a fault it goes on as far as that makes sense."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.strangers: list[str] = []
        """What nothing asks for."""
        self.native_images: list[str] = []
        self._kinds: dict[str, str] = {}
        """Where each kind is listed."""

    def manifest(self, given: object) -> Iterator[Runtime]:
        """Yield what can be used; all of it, if there are no faults afterwards."""
        manifest = self._struct(given, Manifest, "")
        if manifest is None:
            return
        for family, versions in self._families(manifest.runtimes):
            place = f"runtimes.{family}"
            runtimes = [self._runtime(family, one, f"{place}[{n}]") for n, one in enumerate(versions)]
            usable = [runtime for runtime in runtimes if runtime is not None]
            if len(usable) == len(runtimes):
                self._check_default(usable, place)
            yield from usable
        for n, one in enumerate(manifest.blackboxes or ()):
            image = self._image(one, f"blackboxes[{n}]")
            if image is not None:
                self.native_images.append(image if ":" in image.rsplit("/", 1)[-1] else f"{image}:latest")

    def _families(self, given: object) -> Iterator[tuple[str, list[Any]]]:
        if not isinstance(given, dict):
            self._fault("runtimes", f"expected an object with a list for each family of kinds, got {shown(given)}")
            return
        for family, versions in given.items():
            if isinstance(versions, list):
                yield family, versions
            else:
                self._fault(f"runtimes.{family}", f"expected a list of objects, got {shown(versions)}")

    def _check_default(self, runtimes: Sequence[Runtime], place: str) -> None:
        """One version is the default by itself; of several, one must be marked (spec 6.11.1)."""
        marked = sum(runtime.default for runtime in runtimes)
        if len(runtimes) > 1 and marked != 1:
            kinds = ", ".join(runtime.kind for runtime in runtimes)
            self._fault(
                place,
                f"has {len(runtimes)} versions ({kinds}), of which one must be the default, not {marked}: "
                'give exactly one "default": true',
            )

    def _runtime(self, family: str, given: object, place: str) -> Runtime | None:
        before = len(self.faults)
        parts = given if isinstance(given, dict) else {}
        image = self._image(parts["image"], f"{place}.image") if "image" in parts else None
        cells = self._stem_cells(parts.get("stemCells"), f"{place}.stemCells")
        if parts.get("attached") is not None:
            self._struct(parts["attached"], Attached, f"{place}.attached")
        version = self._struct(given, Version, place)
        if version is not None:
            self._check_kind(version.kind, f"{place}.kind")
        if version is None or image is None or len(self.faults) > before:
            return None
        return Runtime(
            kind=version.kind,
            family=family,
            image=image,
            default=version.default is True,
            deprecated=version.deprecated is True,
            require_main=version.require_main is True,
            sentinelled_logs=version.sentinelled_logs is not False,
            prewarm=cells,
        )

    def _check_kind(self, kind: str, place: str) -> None:
        if kind != kind.strip().lower():
            meant = shown(kind.strip().lower())  # actions' kinds are so, and none would match (6.3.1)
            self._fault(place, f"{shown(kind)} is not in lower case, as the kinds of actions are: write {meant}")
        if kind in self._kinds:
            self._fault(place, f"{shown(kind)} is the same as {self._kinds[kind]}: remove one of them")
        self._kinds.setdefault(kind, place)

    def _image(self, given: object, place: str) -> str | None:
        image = self._struct(given, Image, place)
        if image is None:
            return None
        try:
            return names.image_name(str(image), place)
        except names.Misfit:
            self._fault(
                place,
                f"{shown(str(image))} is no name of an image: it is [registry/][prefix/]name[:tag], "
                "where prefix and name are in lower case",
            )
            return None

    def _stem_cells(self, given: object, place: str) -> tuple[PrewarmConfig, ...]:
        if not isinstance(given, list):  # which is a fault of the version, unless there are none
            return ()
        cells = [self._stem_cell(one, f"{place}[{n}]") for n, one in enumerate(given)]
        return tuple(cell for cell in cells if cell is not None)

    def _stem_cell(self, given: object, place: str) -> PrewarmConfig | None:
        before = len(self.faults)
        parts = given if isinstance(given, dict) else {}
        reactive = parts.get("reactive")
        reaction = None if reactive is None else self._reactive(reactive, f"{place}.reactive")
        cell = self._struct(given, Cell, place)
        if cell is None:
            return None
        count = cell.initial_count or cell.count
        if count is None:
            self._fault(f"{place}.initialCount", f"is missing: expected {wanted(Positive)}")
        memory = self._size(cell.memory, f"{place}.memory")
        if count is None or len(self.faults) > before:
            return None
        return PrewarmConfig(count=count, memory=memory, reactive=reaction)

    def _size(self, text: str, place: str) -> int:
        try:
            size = ByteSize.parse(text)
        except ValueError as error:
            self._fault(place, str(error))
            return 0
        if size == 0:
            self._fault(place, f"expected a size of more than 0, such as '256 MB', got {shown(text)}")
        return size

    def _reactive(self, given: object, place: str) -> Reactive | None:
        reactive = self._struct(given, Reaction, place)
        if reactive is None:
            return None
        for name, value in (("minCount", reactive.min_count), ("increment", reactive.increment)):
            if value > reactive.max_count:
                self._fault(
                    f"{place}.{name}", f"{value} is more than maxCount, which is {reactive.max_count}: make one fit"
                )
        return Reactive(
            min_count=reactive.min_count,
            max_count=reactive.max_count,
            ttl=self._seconds(reactive.ttl, f"{place}.ttl"),
            threshold=reactive.threshold,
            increment=reactive.increment,
        )

    def _seconds(self, text: str, place: str) -> float:
        match = DURATION.fullmatch(text)
        if match is None or match[2] not in SECONDS:
            self._fault(place, f"expected a duration such as '2 minutes', got {shown(text)}")
            return 0.0
        return float(match[1]) * SECONDS[match[2]]

    def _struct(self, given: object, into: type[S], place: str) -> S | None:
        """Read an object field by field, so that no fault hides another."""
        if not isinstance(given, dict):
            self._fault(place, f"expected an object, got {shown(given)}")
            return None
        before = len(self.faults)
        self.strangers.extend(strangers(given, into, place))
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(into):
            here = f"{place}.{field.encode_name}" if place else field.encode_name
            if field.encode_name not in given:
                if field.required:
                    self._fault(here, f"is missing: expected {wanted(field.type)}")
                continue
            try:
                values[field.name] = msgspec.convert(given[field.encode_name], field.type)
            except msgspec.ValidationError:
                self._fault(here, f"expected {wanted(field.type)}, got {shown(given[field.encode_name])}")
        return into(**values) if len(self.faults) == before else None

    def _fault(self, place: str, what: str) -> None:
        self.faults.append(f"{place}: {what}" if place else what)
