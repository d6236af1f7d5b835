"""The operator's manifest: upstream's JSON of the kinds of action and their images (spec 6.11)."""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args

import msgspec

from invoker.config.kinds import bare, expected, fields, given, is_a, values_in
from invoker.entities.runtimes import PrewarmConfig, Reactive, Runtime, Runtimes
from invoker.errors import SettingsError
from invoker.units import ByteSize
from invoker.wire import names, raw

EXAMPLE: Final = '{"runtimes": {"python": [{"kind": "python:3", "image": {"name": "an-image"}}]}}'

_LONGEST: Final = 60
"""Characters of a value that a fault repeats: a manifest holds no secrets."""
_LIKE: Final = 0.6
"""How much of two keys must agree before one is taken for a slip of the other."""

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

_Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
_Whole: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


def read(text: bytes, file: str = "", *, warn: Callable[[str], object] | None = None) -> Runtimes:
    """Read a manifest. `warn` is told of every key that nothing asks for: upstream ignores these, and so does this.

    Raises:
        SettingsError: it can't be used; has one line for every fault, with `file`, its place in it and what to do.
    """
    source = f"runtimes.manifest: {file}" if file else "runtimes.manifest"
    try:
        content = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError([f"{source}: {_no_json(text, error)}"]) from None
    reading = _Reading()
    manifest = reading.struct(content, _Manifest, "")
    if manifest and not (reading.faults or any(manifest.runtimes.values()) or manifest.blackboxes):
        reading.faults.append(
            f"lists neither a kind nor an image, so that nothing could run: it must be like {EXAMPLE}; "
            "or leave runtimes.manifest out, for what the container runtime offers of its own accord"
        )
    if manifest is None or reading.faults:
        raise SettingsError([f"{source}: {fault}" for fault in reading.faults])
    if warn is not None:
        for stranger in reading.strangers:
            warn(f"{source}: {stranger}")
    return manifest.result()


# --- its objects -----------------------------------------------------------------------------------------------


class _Shape(msgspec.Struct, rename="camel"):
    """An object in a manifest. `result` is what it stands for, if there are no faults."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield fields whose values are of the right types and of no use, and why. A wrong object within is `None`."""
        yield from ()


class _Image(_Shape):
    """The name of an image, in parts."""

    name: _Text
    registry: str | None = None
    prefix: str | None = None
    tag: str | None = None

    def __str__(self) -> str:
        """As a container engine names it: `[registry/][prefix/]name[:tag]` (spec 6.11.2)."""
        places = [part.strip("/") for part in (self.registry, self.prefix) if part]
        return "/".join([*places, self.name]) + (f":{self.tag}" if self.tag else "")

    def faults(self) -> Iterator[tuple[str, str]]:
        try:
            self.result()
        except names.Misfit:
            form = "[registry/][prefix/]name[:tag], where prefix and name are in lower case"
            yield "", f"{_shown(str(self))} is no name of an image: it is {form}"

    def result(self) -> str:
        return names.image_name(str(self), "image")


class _Reaction(_Shape):
    """How the number of stem cells follows the demand (spec 6.11.3)."""

    min_count: _Whole
    max_count: _Positive
    ttl: str
    threshold: _Positive
    increment: _Positive

    def faults(self) -> Iterator[tuple[str, str]]:
        for name, value in (("minCount", self.min_count), ("increment", self.increment)):
            if value > self.max_count:
                yield name, f"{value} is more than maxCount, which is {self.max_count}: make one fit"
        if self._seconds() is None:
            yield "ttl", f"expected a duration such as '2 minutes', got {_shown(self.ttl)}"

    def result(self) -> Reactive:
        return Reactive(**msgspec.structs.asdict(self) | {"ttl": self._seconds()})

    def _seconds(self) -> float | None:
        match = _DURATION.fullmatch(self.ttl)
        return float(match[1]) * _SECONDS[match[2]] if match and match[2] in _SECONDS else None


class _StemCell(_Shape):
    """Prewarmed containers of one kind and memory (spec 6.11.3)."""

    memory: str
    initial_count: _Positive | None = None
    count: _Positive | None = None
    reactive: _Reaction | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        if not (self.initial_count or self.count):
            yield "initialCount", f"is missing: expected {_wanted(_Positive)}"
        try:
            if not ByteSize.parse(self.memory):
                yield "memory", f"expected a size of more than 0, such as '256 MB', got {_shown(self.memory)}"
        except ValueError as error:
            yield "memory", str(error)

    def result(self) -> PrewarmConfig:
        return PrewarmConfig(
            count=self.initial_count or self.count or 0,
            memory=ByteSize.parse(self.memory),
            reactive=self.reactive.result() if self.reactive else None,
        )


class _Attached(_Shape):
    """Where upstream keeps code of this kind; nobody here asks."""

    attachment_name: str
    attachment_type: str


class _Version(_Shape):
    """One kind."""

    kind: _Text
    image: _Image
    default: bool | None = None
    deprecated: bool | None = None
    require_main: bool | None = None
    sentinelled_logs: bool | None = None
    stem_cells: list[_StemCell] | None = None
    attached: _Attached | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        meant = self.kind.strip().lower()
        if meant != self.kind:  # actions' kinds are so, and none would match (6.3.1)
            is_not = f"{_shown(self.kind)} is not in lower case, as the kinds of actions are"
            yield "kind", f"{is_not}: write {_shown(meant)}"

    def result(self, family: str) -> Runtime:
        return Runtime(
            kind=self.kind,
            family=family,
            image=self.image.result(),
            default=self.default is True,
            deprecated=self.deprecated is True,
            require_main=self.require_main is True,
            sentinelled_logs=self.sentinelled_logs is not False,
            prewarm=tuple(cell.result() for cell in self.stem_cells or ()),
        )


class _Manifest(_Shape):
    """The whole."""

    runtimes: Annotated[
        dict[str, Annotated[list[_Version], msgspec.Meta(description="a list of objects")]],
        msgspec.Meta(description="an object with a list for each family of kinds"),
    ]
    blackboxes: list[_Image] | None = None
    description: Any = None
    """Upstream's own manifest has one, for people."""

    def faults(self) -> Iterator[tuple[str, str]]:
        places: dict[str, str] = {}
        for family, listed in self.runtimes.items():
            versions: Sequence[_Version | None] = listed
            for n, version in enumerate(versions):
                place = f"runtimes.{family}[{n}].kind"
                if version is not None and places.setdefault(version.kind, place) != place:
                    first = f"{_shown(version.kind)} is the same as {places[version.kind]}"
                    yield place, f"{first}: remove one of them"
            if None not in versions:
                yield from _default_faults(family, listed)

    def result(self) -> Runtimes:
        images = [image.result() for image in self.blackboxes or ()]
        return Runtimes(
            [version.result(family) for family, versions in self.runtimes.items() for version in versions],
            [image if ":" in image.rsplit("/", 1)[-1] else f"{image}:latest" for image in images],
        )


def _default_faults(family: str, versions: Sequence[_Version]) -> Iterator[tuple[str, str]]:
    """One version is the default by itself; of several, one must be marked (spec 6.11.1)."""
    marked = sum(version.default is True for version in versions)
    if len(versions) > 1 and marked != 1:
        kinds = ", ".join(version.kind for version in versions)
        has = f"has {len(versions)} versions ({kinds}), of which one must be the default, not {marked}"
        yield f"runtimes.{family}", f'{has}: give exactly one "default": true'


# --- how they are read -----------------------------------------------------------------------------------------

S = TypeVar("S", bound=_Shape)

_WRONG: Final = object()
"""Stands for a value of the wrong type."""


class _Reading:
    """Reads objects part by part, so that no fault hides another."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.strangers: list[str] = []
        """What nothing asks for."""

    def struct(self, content: object, into: type[S], place: str) -> S | None:
        """Return an object, or `None` after a fault in one of its own fields."""
        if not isinstance(content, dict):
            self._fault(place, f"expected an object, got {_shown(content)}")
            return None
        self.strangers.extend(_strangers(content, into, place))
        values: dict[str, Any] = {}
        for field in fields(into):
            name = field.encode_name
            here = f"{place}.{name}" if place else name
            if name in content:
                values[field.name] = self._value(content[name], field.type, here)
            elif field.required:
                values[field.name] = self._fault(here, f"is missing: expected {_wanted(field.type)}")
        if _WRONG in values.values():
            return None
        shape = into(**values)
        for name, what in shape.faults():
            self._fault(f"{place}.{name}" if place and name else place or name, what)
        return shape

    def _value(self, content: Any, kind: Any, place: str) -> Any:
        if content is None and given(kind) is not kind:
            return None
        if is_a(kind, _Shape):
            return self.struct(content, bare(kind), place)
        if is_a(kind, list) and isinstance(content, list):
            (inner,) = get_args(bare(kind))
            return [self._value(each, inner, f"{place}[{n}]") for n, each in enumerate(content)]
        if is_a(kind, dict) and isinstance(content, dict):
            read = {key: self._value(each, values_in(kind), f"{place}.{key}") for key, each in content.items()}
            return {key: each for key, each in read.items() if each is not _WRONG}
        try:
            return msgspec.convert(content, kind)
        except msgspec.ValidationError:
            return self._fault(place, f"expected {_wanted(kind)}, got {_shown(content)}")

    def _fault(self, place: str, what: str) -> object:
        self.faults.append(f"{place}: {what}" if place else what)
        return _WRONG


def _no_json(text: bytes, error: Exception) -> str:
    """Return what is wrong with the JSON, and in which line: the standard library knows."""
    if not text.strip():
        return f"is empty; it must be like {EXAMPLE}"
    try:
        json.loads(text.decode())
    except json.JSONDecodeError as fault:
        return f"line {fault.lineno}, column {fault.colno}: is no JSON: {fault.msg}"
    except (UnicodeDecodeError, RecursionError) as fault:
        return f"is no JSON: {raw.reason(fault)}"
    except ValueError:  # a number of more than 4300 digits
        return f"is no JSON: {raw.reason(error)}"
    if raw.has_surrogates(text):
        return "is no JSON that can be read: half of a surrogate pair is escaped, such as \\ud800"
    return f"is no JSON: {raw.reason(error)}"


def _wanted(kind: Any) -> str:
    """Return what the settings call a type's values, in the words of JSON."""
    said = [part.description for part in get_args(given(kind)) if isinstance(part, msgspec.Meta) and part.description]
    return said[0] if said else expected(kind).replace("a table", "an object")


def _shown(value: object) -> str:
    """Return a value as it stands in the file, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes
        return "what is too large to be shown"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _strangers(content: Mapping[str, object], into: type[_Shape], place: str) -> Iterator[str]:
    """Yield a line for each key of an object that nothing asks for, with the one that was probably meant."""
    known = {field.encode_name.lower(): field.encode_name for field in fields(into)}
    for key in content:
        if key in known.values():
            continue
        close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=_LIKE)
        advice = f"did you mean {known[close[0]]}?" if close else f"there are {', '.join(known.values())}"
        where = f" in {place}" if place else ""
        yield f"{_shown(key)}{where} is no key of a manifest and has no effect; {advice}"
