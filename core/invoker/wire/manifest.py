"""The operator's manifest: upstream's JSON of the kinds of action and their images (spec 6.11)."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from invoker.entities.runtimes import Reactive, Runtime, Runtimes, StemCell
from invoker.errors import SettingsError
from invoker.units import ByteSize
from invoker.wire import names, raw

S = TypeVar("S", bound=msgspec.Struct)

_Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class _Manifest(msgspec.Struct):
    runtimes: dict[str, list[Any]]
    blackboxes: list[Any] | None = None


class _Image(msgspec.Struct):
    name: _Text
    registry: str | None = None
    prefix: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """As a container engine names it: `[registry/][prefix/]name[:tag]` (spec 6.11.2)."""
        places = [part.strip("/") for part in (self.registry, self.prefix) if part]
        return "/".join([*places, self.name]) + (f":{self.tag}" if self.tag else "")


class _Attached(msgspec.Struct, rename="camel"):
    attachment_name: str
    attachment_type: str


class _Version(msgspec.Struct, rename="camel"):
    """Objects inside are looked at for themselves, so that they may be `Any` here."""

    kind: _Text
    image: Any
    default: bool | None = None
    deprecated: bool | None = None
    require_main: bool | None = None
    sentinelled_logs: bool | None = None
    stem_cells: list[Any] | None = None


class _StemCell(msgspec.Struct, rename="camel"):
    memory: str
    initial_count: _Positive | None = None
    count: _Positive | None = None


class _Reactive(msgspec.Struct, rename="camel"):
    min_count: _Whole
    max_count: _Positive
    ttl: str
    threshold: _Positive
    increment: _Positive


_DURATION: Final = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([a-zµ]+)\s*", re.ASCII)
_UNITS: Final = {
    "d day days": 86_400.0,
    "h hr hrs hour hours": 3_600.0,
    "m min mins minute minutes": 60.0,
    "s sec secs second seconds": 1.0,
    "ms milli millis millisecond milliseconds": 1e-3,
    "µs micro micros microsecond microseconds": 1e-6,
    "ns nano nanos nanosecond nanoseconds": 1e-9,
}
_SECONDS: Final = {word: seconds for words, seconds in _UNITS.items() for word in words.split()}
"""The words of Scala's durations, such as "2 minutes"."""


def read(text: bytes) -> Runtimes:
    """Read a manifest.

    Raises:
        SettingsError: it can't be used; has one line for every fault, with its place.
    """
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError([f"runtimes.manifest: {raw.reason(error)}"]) from None
    reading = _Reading()
    runtimes = list(reading.manifest(given))
    if reading.faults:
        raise SettingsError([f"runtimes.manifest: {fault}" for fault in reading.faults])
    return Runtimes(runtimes, reading.native_images)


class _Reading:
    """Collects runtimes and faults; after a fault it goes on as far as that makes sense."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.native_images: list[str] = []
        self._kinds: dict[str, str] = {}
        """Where each kind is listed."""

    def manifest(self, given: object) -> Iterator[Runtime]:
        """Yield what can be used; all of it, if there are no faults afterwards."""
        manifest = self._struct(given, _Manifest, "")
        if manifest is None:
            return
        for family, versions in manifest.runtimes.items():
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

    def _check_default(self, runtimes: Sequence[Runtime], place: str) -> None:
        """One version is the default by itself; of several, one must be marked (spec 6.11.1)."""
        marked = sum(runtime.default for runtime in runtimes)
        if len(runtimes) > 1 and marked != 1:
            self._fault(place, f"has {len(runtimes)} versions, of which one must be the default, not {marked}")

    def _runtime(self, family: str, given: object, place: str) -> Runtime | None:
        before = len(self.faults)
        parts = given if isinstance(given, dict) else {}
        image = self._image(parts["image"], f"{place}.image") if "image" in parts else None
        cells = self._stem_cells(parts.get("stemCells"), f"{place}.stemCells")
        if parts.get("attached") is not None:
            self._struct(parts["attached"], _Attached, f"{place}.attached")
        version = self._struct(given, _Version, place)
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
            stem_cells=cells,
        )

    def _check_kind(self, kind: str, place: str) -> None:
        if kind != kind.strip().lower():
            self._fault(place, "is not in lower case, as the kinds of actions are")  # so none would match (6.3.1)
        if kind in self._kinds:
            self._fault(place, f"is the same as {self._kinds[kind]}")
        self._kinds.setdefault(kind, place)

    def _image(self, given: object, place: str) -> str | None:
        image = self._struct(given, _Image, place)
        if image is None:
            return None
        try:
            return names.image_name(str(image), place)
        except names.Misfit:
            self._fault(place, "is no name of an image")
            return None

    def _stem_cells(self, given: object, place: str) -> tuple[StemCell, ...]:
        if not isinstance(given, list):  # which is a fault of the version, unless there are none
            return ()
        cells = [self._stem_cell(one, f"{place}[{n}]") for n, one in enumerate(given)]
        return tuple(cell for cell in cells if cell is not None)

    def _stem_cell(self, given: object, place: str) -> StemCell | None:
        before = len(self.faults)
        parts = given if isinstance(given, dict) else {}
        reactive = parts.get("reactive")
        reaction = None if reactive is None else self._reactive(reactive, f"{place}.reactive")
        cell = self._struct(given, _StemCell, place)
        if cell is None:
            return None
        count = cell.initial_count or cell.count
        if count is None:
            self._fault(f"{place}.initialCount", "is missing")
        memory = self._size(cell.memory, f"{place}.memory")
        if count is None or len(self.faults) > before:
            return None
        return StemCell(count=count, memory=memory, reactive=reaction)

    def _size(self, text: str, place: str) -> int:
        try:
            size = ByteSize.parse(text)
        except ValueError as error:
            self._fault(place, str(error))
            return 0
        if size == 0:
            self._fault(place, "must be more than 0")
        return size

    def _reactive(self, given: object, place: str) -> Reactive | None:
        reactive = self._struct(given, _Reactive, place)
        if reactive is None:
            return None
        for name, value in (("minCount", reactive.min_count), ("increment", reactive.increment)):
            if value > reactive.max_count:
                self._fault(f"{place}.{name}", "is more than maxCount")
        return Reactive(
            min_count=reactive.min_count,
            max_count=reactive.max_count,
            ttl=self._seconds(reactive.ttl, f"{place}.ttl"),
            threshold=reactive.threshold,
            increment=reactive.increment,
        )

    def _seconds(self, text: str, place: str) -> float:
        match = _DURATION.fullmatch(text)
        if match is None or match[2] not in _SECONDS:
            self._fault(place, "expected a duration such as '2 minutes'")
            return 0.0
        return float(match[1]) * _SECONDS[match[2]]

    def _struct(self, given: object, into: type[S], place: str) -> S | None:
        """Read an object field by field, so that no fault hides another."""
        if not isinstance(given, dict):
            self._fault(place, "expected an object")
            return None
        before = len(self.faults)
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(into):
            here = f"{place}.{field.encode_name}" if place else field.encode_name
            if field.encode_name not in given:
                if field.required:
                    self._fault(here, "is missing")
                continue
            try:
                values[field.name] = msgspec.convert(given[field.encode_name], field.type)
            except msgspec.ValidationError as error:
                self._fault(here, str(error))
        return into(**values) if len(self.faults) == before else None

    def _fault(self, place: str, what: str) -> None:
        self.faults.append(f"{place}: {what}" if place else what)
