"""Whatever is written in settings, it is taken as it is or refused with a `SettingsError`."""

import contextlib
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from invoker.cli.configuration import as_toml
from invoker.config import CORE, Seconds, Secret
from invoker.config.kinds import toml
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, STRICT, ShopSettings, layers

Write = Callable[..., Path]

FIELDS = [
    (section.name, field)
    for section in (*CORE, SHOP, STRICT)
    for field in section.into.__struct_fields__
    if field != "loaders"  # any module would be imported
]
VARIABLES = ["INVOKER_" + "__".join(part for part in names if part).upper() for names in FIELDS]
KEYS = [".".join(part for part in names if part) for names in FIELDS]

ANY = st.text(st.characters(exclude_characters="\0"))  # the environment can't have NUL
PARTS = st.sampled_from(["[", "]", "{", "}", "=", ",", '"', "'", "\n", "a", "1", "0x", "e5", " ", "#", "\\", "ms", "K"])
ODD = st.one_of(ANY, st.lists(PARTS).map("".join), st.from_regex(r"[0-9.eE_+xKMGB ]{1,12}", fullmatch=True))

several = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refuse(**sources: Any) -> None:
    """Use every way into the settings; only a `SettingsError` may come out."""
    with contextlib.suppress(SettingsError):
        read = layers(**sources)
        read.tables()
        with contextlib.suppress(SettingsError):
            read.roles()
        made = read.settings([SHOP])
        tomllib.loads(as_toml(made, [SHOP]))
        read.explain([SHOP])


@several
@given(st.sampled_from(VARIABLES), ODD)
@example("INVOKER_POOL__MEMORY", "1 \u212a")  # the Kelvin sign is a K to some
@example("INVOKER_SHOP__WAIT", "1 \u017f")  # and the long s an s
@example("INVOKER_SHOP__WAIT", "9" * 400)
@example("INVOKER_SHOP__PORT", "9" * 5000)
@example("INVOKER_SHOP__PORTS", f"[0x{'f' * 5000}]")
@example("INVOKER_SHOP__GRID", "[" * 500 + "]" * 500)
@example("INVOKER_SHOP__LABELS", "{ a = " * 50 + "1" + " }" * 50)
@example("INVOKER_SHOP", "{" * 5000)
def test_any_text_in_a_variable_is_read_or_refused(variable: str, text: str) -> None:
    read_or_refuse(environ={variable: text})


@several
@given(st.lists(st.one_of(st.sampled_from(["POOL", "pool", "SHOP", "LABELS", "TLS", "", "_", "LOGS"]), ANY)), ODD)
def test_any_variable_is_read_or_refused(parts: list[str], text: str) -> None:
    read_or_refuse(environ={"INVOKER_" + "__".join(parts): text})


@several
@given(st.dictionaries(st.sampled_from([*VARIABLES, "INVOKER_SHOP", "INVOKER_POOL"]), ODD, max_size=6))
def test_any_variables_together_are_read_or_refused(environ: dict[str, str]) -> None:
    read_or_refuse(environ=environ)


@several
@given(st.lists(st.one_of(ANY, st.builds("{}={}".format, st.one_of(st.sampled_from(KEYS), ANY), ODD)), max_size=4))
def test_any_argument_is_read_or_refused(overrides: list[str]) -> None:
    read_or_refuse(overrides=overrides)


@several
@given(st.sampled_from(FIELDS), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_string_in_a_file_is_read_or_refused(write: Write, field: tuple[str, str], text: str) -> None:
    header = f"[{field[0]}]\n" if field[0] else ""

    read_or_refuse(secrets=write(f"{header}{field[1]} = {toml(text)}\n"))


@several
@given(ODD)
def test_any_file_is_read_or_refused(write: Write, content: str) -> None:
    file = write("")
    file.write_bytes(f"[shop]\nlabels = {content}".encode("utf-8", "surrogatepass"))

    with contextlib.suppress(SettingsError):
        layers(file).settings([SHOP])


@several
@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("12345")
@example("@format {this.x}")
@example("dynaconf_merge")
def test_strings_survive_a_file_byte_for_byte(write: Write, text: str) -> None:
    file = write(f"[shop]\nusername = {toml(text)}\nnickname = {toml(text)}\npassword = {toml(text)}\n")

    read = layers(file).settings([SHOP])[ShopSettings]

    assert (read.username, read.nickname, read.password.reveal()) == (text, text, text)


@several
@given(ANY)
@example("null")
@example("\udcff")
@example(" {1} ")
def test_strings_survive_the_environment_and_the_command_line_byte_for_byte(text: str) -> None:
    fields = ("username", "nickname", "password")

    for sources in (
        {"environ": {f"INVOKER_SHOP__{field.upper()}": text for field in fields}},
        {"overrides": [f"shop.{field}={text}" for field in fields]},
    ):
        read = layers(**sources).settings([SHOP])[ShopSettings]

        assert (read.username, read.nickname, read.password) == (text, text, Secret(text))


@several
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
    )
)
def test_free_tables_survive_being_laid_over_one_another(write: Write, labels: dict[str, str]) -> None:
    content = "[shop.labels]\n" + "".join(f"{toml(name)} = {toml(text)}\n" for name, text in labels.items())
    first = write("[shop.labels]\n" + "".join(f'{toml(name)} = "old"\n' for name in labels), "first.toml")

    read = layers(first, write(content)).settings([SHOP])[ShopSettings]

    assert read.labels == labels


@several
@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_any_duration_can_be_shown_and_read_again(write: Write, seconds: float) -> None:
    read = layers(write(f"[shop]\nwait = {seconds!r}\n")).settings([SHOP])

    again = layers(write(as_toml(read, [SHOP]))).settings([SHOP])

    assert again[ShopSettings].wait == read[ShopSettings].wait == Seconds(seconds)


@pytest.mark.parametrize("text", ["\n", "\udcff"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_text_in_a_variable_is_told_by_its_name(variable: str, text: str) -> None:
    try:
        said = [line.origin for line in layers(environ={variable: text}).explain([SHOP])]
    except SettingsError as error:
        said = list(error.faults)

    assert any(variable in each for each in said)
