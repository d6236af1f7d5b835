"""The types that a section's fields may have."""

import datetime as dt
import json
import tomllib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
import pytest

from invoker.cli.configuration import as_toml, to_jsonable
from invoker.config import ByteSize, Seconds, SecondsOrZero, Secret, Section, SettingsSection
from invoker.config.conversion import Source
from invoker.config.kinds import convert, expected, holds_secret, toml
from tests.core.config.shop import ShopSettings, layers


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Colour(str):
    """A type that a plugin made, which reads itself."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        if not isinstance(text, str) or not text.startswith("#"):
            raise ValueError("expected a colour such as '#fff'")
        return cls(text)


class Route(msgspec.Struct, frozen=True):
    """What a list may hold."""

    path: str
    weight: int = 1

    def __post_init__(self) -> None:
        """Refuse nonsense."""
        if not self.path:
            raise ValueError("a route needs a path")


class Palette(Section, frozen=True, kw_only=True):
    """Types that the core doesn't use."""

    size: Size = Size.SMALL
    colour: Colour = Colour("#000")
    opened: dt.date | None = None
    seen: dt.datetime | None = None
    at: dt.time | None = None
    routes: tuple[Route, ...] = ()
    table: Mapping[str, Any] = {}
    either: int | Literal["auto"] = "auto"
    names: frozenset[str] = frozenset()


PALETTE = SettingsSection(name="palette", into=Palette)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "a whole number"),
        (Annotated[int, msgspec.Meta(gt=1, lt=9)] | None, "a whole number above 1 and below 9"),
        (Annotated[float, msgspec.Meta(ge=0, le=1)], "a number of at least 0 and of at most 1"),
        (str | None, "a string"),
        (
            Annotated[str, msgspec.Meta(min_length=2, max_length=3)],
            "a string of at least 2 characters and of at most 3 characters",
        ),
        (Annotated[str, msgspec.Meta(max_length=3)], "a string of at most 3 characters"),
        (bool, "true or false"),
        (Literal["only"], "'only'"),
        (Literal["b", "a"] | None, "one of 'b', 'a'"),
        (Size, "one of 'small', 'large'"),
        (int | Literal["auto"], "a whole number or 'auto'"),
        (list[int], "a list, each item a whole number"),
        (tuple[Path, ...], "a list, each item a path"),
        (tuple[int, str], "a list of a whole number, a string"),
        (dict[str, Secret], "a table, each value a string in quotes"),
        (Route, "a table"),
        (ByteSize, "a size such as '256 MB'"),
        (Seconds, "a duration such as '3 s'"),
        (SecondsOrZero | None, "a duration such as '3 s'"),
        (Annotated[Path, msgspec.Meta(examples=["/x"])], "a path"),
        (Colour, "Colour"),
        (dt.date, "a date"),
        (dt.time, "a time"),
        (dt.datetime, "a date and time"),
        (Any, "any value"),
        (bytes, "another value"),
    ],
)
def test_a_type_is_described(kind: Any, words: str) -> None:
    assert expected(kind) == words


@pytest.mark.parametrize("kind", [Secret, Secret | None, dict[str, Secret], list[Secret | None], ShopSettings])
def test_a_type_that_holds_a_secret_is_known(kind: Any) -> None:
    assert holds_secret(kind)


@pytest.mark.parametrize("kind", [str, dict[str, int], tuple[str, ...], Route, Any, int | None])
def test_a_type_that_holds_no_secret_is_known(kind: Any) -> None:
    assert not holds_secret(kind)


def test_other_types_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "palette.toml"
    file.write_text(
        "[palette]\nsize = 'large'\ncolour = '#fff'\nopened = 2024-02-29\nseen = 2024-02-29T01:02:03Z\nat = 01:02:03\n"
        "routes = [{ path = '/a' }, { path = '/b', weight = 2 }]\neither = 5\nnames = ['x']\n"
        "[palette.table]\na = [1, { b = 2 }]\nc.d = 1.5\n"
    )

    read = layers(file).settings([PALETTE])

    assert read[Palette] == Palette(
        size=Size.LARGE,
        colour=Colour("#fff"),
        opened=dt.date(2024, 2, 29),
        seen=dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=dt.UTC),
        at=dt.time(1, 2, 3),
        routes=(Route(path="/a"), Route(path="/b", weight=2)),
        table={"a": [1, {"b": 2}], "c": {"d": 1.5}},
        either=5,
        names=frozenset({"x"}),
    )


def test_other_types_are_read_from_texts() -> None:
    overrides = ["palette.size=small", "palette.colour=#fff", "palette.opened=2024-02-29", "palette.either=5"]

    read = layers(overrides=[*overrides, "palette.routes=[{ path = '/a' }]"]).settings([PALETTE])

    assert read[Palette].opened == dt.date(2024, 2, 29)
    assert (read[Palette].size, read[Palette].colour, read[Palette].either) == (Size.SMALL, "#fff", 5)
    assert read[Palette].routes == (Route(path="/a"),)


def test_other_types_are_shown_and_read_again(tmp_path: Path) -> None:
    overrides = ["palette.size=small", "palette.colour=#fff", "palette.opened=2024-02-29", "palette.at=01:02:03"]
    more = [
        "palette.seen=2024-02-29T01:02:03Z",
        "palette.routes=[{ path = '/a' }]",
        "palette.table={ a = { b = [1] } }",
    ]
    read = layers(overrides=[*overrides, *more]).settings([PALETTE])
    file = tmp_path / "palette.toml"

    file.write_text(as_toml(read, [PALETTE]))
    document = to_jsonable(read, [PALETTE])["palette"]

    assert layers(file).settings([PALETTE])[Palette] == read[Palette]
    assert json.loads(json.dumps(document)) == document
    assert (document["size"], document["opened"], document["colour"]) == ("small", "2024-02-29", "#fff")


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (Colour, "red", "expected a colour such as '#fff'"),
        (tuple[Route, ...], [{"path": ""}], "a route needs a path"),
        (Route, {"weight": 1}, "expected a table, got {weight = 1}"),
        (
            Annotated[dict[str, int], msgspec.Meta(min_length=1)],
            {},
            "expected a table, each value a whole number, got {}",
        ),
    ],
)
def test_other_types_complain_in_their_own_words(kind: Any, value: Any, complaint: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the text is compared below)
        convert(kind, value)

    assert str(raised.value) == complaint


def test_what_is_on_the_way_to_its_type_is_not_shown() -> None:
    source = Source("environment", "INVOKER_X", {("x",): "hunter2"})

    assert "hunter2" not in f"{source!r} {source} {[source]}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (1e-7, "1e-07"),
        (True, "true"),
        ({"a": [1, {"b c": "d"}], "none": None}, '{a = [1, {"b c" = "d"}]}'),
        ({'x"name': 'y"name" = '}, '{"x\\"name" = "y\\"name\\" = "}'),
        (Route(path="/a"), '{path = "/a", weight = 1}'),
        (Size.LARGE, '"large"'),
        ((Secret("x"), ByteSize(1024), Seconds(0.5)), '["***", "1 KB", "500 ms"]'),
        (dt.date(2024, 2, 29), '"2024-02-29"'),
    ],
)
def test_a_value_is_written_as_toml(value: Any, text: str) -> None:
    assert toml(value) == text
    tomllib.loads(f"x = {text}")


def test_any_character_can_be_quoted() -> None:
    text = "".join(chr(code) for code in range(0x3000) if not 0xD800 <= code <= 0xDFFF) + "\U0001f600\U000e0001"

    assert tomllib.loads(f"x = {toml(text)}")["x"] == text
