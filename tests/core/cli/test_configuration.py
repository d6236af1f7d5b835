"""What `invoker config` writes: a settings file to start from, and the settings in effect."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.cli.configuration import as_toml, documentation, template, to_jsonable
from invoker.config import (
    CORE,
    LogsSettings,
    PoolSettings,
    RolesSettings,
    Section,
    SettingsSection,
)
from tests.core.config.shop import SHOP, STRICT, ShopSettings, TLSSettings, faults, layers

Write = Callable[..., Path]

SETTING = re.compile(r"^#(?! )", re.MULTILINE)


def setting_lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines()) if SETTING.match(line)]


def uncommented(text: str, numbers: list[int]) -> str:
    return "\n".join(line[1:] if number in numbers else line for number, line in enumerate(text.splitlines()))


def test_the_template_as_it_is_gives_the_defaults(write: Write) -> None:
    read = layers(write(template([SHOP]))).settings([SHOP])

    assert to_jsonable(read, [SHOP]) == to_jsonable(layers().settings([SHOP]), [SHOP])


def test_the_template_has_every_section_and_field() -> None:
    text = template([SHOP])
    document = tomllib.loads(SETTING.sub("", text))

    for section in (*CORE, SHOP):
        table = document[section.name] if section.name else document
        assert set(table) >= set(section.into.__struct_fields__)


def test_any_line_of_the_template_can_be_uncommented(write: Write) -> None:
    text = template([SHOP])
    lines = setting_lines(text)

    for number in lines:
        line = text.splitlines()[number]
        with_certificate = [each for each in lines if text.splitlines()[each].startswith("#tls.certificate")]
        needed = with_certificate if line.startswith("#tls.") else []

        layers(write(uncommented(text, [number, *needed]))).settings([SHOP])

    assert len(lines) > 60


def test_all_lines_of_the_template_can_be_uncommented_at_once(write: Write) -> None:
    text = template()

    read = layers(write(SETTING.sub("", text))).settings()

    assert read[PoolSettings] == PoolSettings()
    assert read[RolesSettings] == RolesSettings()
    assert read[LogsSettings] == LogsSettings()


def test_what_a_field_is_for_stands_above_it() -> None:
    text = template()

    assert (
        '# All containers together, idle ones included; controllers are told this number.\n#memory = "2 GB"\n' in text
    )
    assert "# Containers and the memory they share.\n[pool]\n" in text


def test_the_words_of_a_choice_are_listed() -> None:
    assert "# One of 'sunny', 'rainy'.\n#mood = \"sunny\"\n" in template([SHOP])


def test_a_field_that_must_be_given_has_the_example_of_its_type(write: Write) -> None:
    text = template([STRICT])

    assert '# Where it is.\n# Must be given.\n#address = "tcp://127.0.0.1:9000"\n' in text
    assert '# Secret: better in the secrets file or in the environment.\n# Must be given.\n#secret = ""\n' in text
    assert len(faults(layers(write(text)), STRICT)) == 3


def test_a_field_without_any_example_is_described_and_can_not_be_uncommented() -> None:
    assert "# Must be given.\n# code = a string that matches '^[A-Z]{3}$'\n" in template([STRICT])


def test_fields_of_tables_are_dotted() -> None:
    text = template([SHOP])

    assert '# PEM, the chain included.\n# Must be given.\n#tls.certificate = "/path/to/it"\n' in text
    assert "#tls.verify = true\n" in text
    assert "# Encryption; none without a certificate.\n\n# PEM" in text


def test_lines_are_not_longer_than_a_terminal_is_wide() -> None:
    assert max(len(line) for line in template([SHOP]).splitlines() if line.startswith("# ")) <= 102


def test_documentation_is_inherited() -> None:
    class More(TLSSettings, frozen=True, kw_only=True):
        extra: int = 0
        """Of its own."""

    assert documentation(More) == {"certificate": "PEM, the chain included.", "extra": "Of its own."}


def test_a_section_without_source_has_no_documentation() -> None:
    namespace: dict[str, type[Section]] = {}
    exec(  # the way to a class that no file holds
        "from invoker.config import Section\nclass Made(Section, frozen=True, kw_only=True):\n  a: int = 1\n  'doc'",
        namespace,
    )

    text = template([SettingsSection(name="made", into=namespace["Made"])])

    assert text.endswith("[made]\n\n#a = 1\n")


@pytest.mark.parametrize("section", CORE)
def test_every_section_of_the_core_says_what_it_is_for(section: SettingsSection) -> None:
    assert section.into.__doc__


def test_the_effective_settings_are_a_file_that_gives_the_same_settings(write: Write) -> None:
    overrides = [
        'shop.username=a"b\\c\n\t\x7f\u2028é😀',
        "shop.share=1e-7",
        "shop.size=3",
        "shop.wait=1234567.891",
        "shop.pause=0.1 ms",
        "shop.hosts=['a', 'b']",
        "shop.grid=[[1], []]",
        "shop.labels={ 'a b' = 'c', d = '' }",
        "shop.tls={ certificate = '/c', verify = false }",
        "shop.folder=/x y",
        "logs=docker",
        "recording.first_retry=7 ms",
    ]
    read = layers(overrides=overrides).settings([SHOP])

    again = layers(write(as_toml(read, [SHOP]))).settings([SHOP])

    assert to_jsonable(again, [SHOP]) == to_jsonable(read, [SHOP]) | {
        "shop": to_jsonable(read, [SHOP])["shop"] | {"password": "***"}
    }
    assert again[ShopSettings].username == read[ShopSettings].username


def test_the_effective_settings_show_no_secret() -> None:
    overrides = ["shop.password=hunter2", "encryption.keys.mine=hunter2", "shop.tokens=hunter2"]
    read = layers(overrides=[*overrides, "shop.url=http://hunter2@host"]).settings([SHOP])

    text = as_toml(read, [SHOP])
    document = json.dumps(to_jsonable(read, [SHOP]))

    assert "hunter2" not in text + document
    assert tomllib.loads(text)["shop"]["password"] == "***"
    assert tomllib.loads(text)["encryption"]["keys"] == {"mine": "***"}
    assert "# tls is not set\n" in text


def test_the_effective_settings_for_json_have_bytes_and_seconds() -> None:
    read = layers(overrides=["pool.memory=1 GB", "shop.wait=5 ms"]).settings([SHOP])

    document = to_jsonable(read, [SHOP])

    assert document["runtime"] == "process"
    assert document["pool"]["memory"] == 1 << 30
    assert document["shop"]["wait"] == 0.005
    assert document["shop"]["tls"] is None
    assert json.loads(json.dumps(document)) == document


def test_text_that_toml_can_not_have_is_replaced_where_it_is_shown() -> None:
    read = layers(environ={"INVOKER_SHOP__USERNAME": "caf\udce9"}).settings([SHOP])

    text = as_toml(read, [SHOP])

    assert tomllib.loads(text)["shop"]["username"] == "caf\ufffd"
