"""Files: which can be read, and what is said of those that can't."""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from invoker.config import LogsSettings, RolesSettings, Secret
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, ShopSettings, faults, layers

Write = Callable[..., Path]


def file_faults(*files: Path, secrets: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        layers(*files, secrets=secrets)
    return raised.value.faults


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"

    (fault,) = file_faults(absent)

    assert fault == (
        f"{absent}: there is no such file; name one that is there, or write a new one with 'invoker config init'"
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (fault,) = file_faults(tmp_path)

    assert fault == f"{tmp_path}: this is a directory; name the file in it"


@pytest.mark.parametrize(("name", "reason"), [("a\0b.toml", "null byte"), ("x" * 300, "name another file")])
def test_a_name_that_no_file_can_have_is_a_fault(tmp_path: Path, name: str, reason: str) -> None:
    (fault,) = file_faults(tmp_path / name)

    assert reason in fault


def test_an_ill_formed_file_is_named_with_the_line(write: Write) -> None:
    file = write("[pool]\n\nmemory = 1 GB\n")

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}, line 3, column 12: ")
    assert fault.endswith("the file must be TOML, where text stands in quotes")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.toml", 'extra = ["seen"]\n[shop]\nport = 81\nusername = "12345"\nlabels = { Mine = "a", mine = "é" }\n'),
        (
            "s.yaml",
            "extra: [seen]\nshop:\n  port: 81\n  username: '12345'\n  labels: {Mine: a, mine: é}\n  tip: null\npool:\n",
        ),
        ("s.YML", "extra:\n- seen\nshop: { port: 81, username: '12345', labels: { Mine: a, mine: é } }\n"),
        (
            "s.json",
            '{"extra": ["seen"], "shop": {"port": 81, "username": "12345", "labels": {"Mine": "a", "mine": "é"}}}',
        ),
        (
            "secrets",
            'extra = ["seen"]\nshop.port = 81\nshop.username = "12345"\nshop.labels = { Mine = "a", mine = "é" }\n',
        ),
    ],
)
def test_a_file_is_read_by_the_end_of_its_name(write: Write, name: str, content: str) -> None:
    read = layers(write(content, name)).settings([SHOP])

    assert read[RolesSettings].extra == ("seen",)
    assert read[ShopSettings] == ShopSettings(port=81, username="12345", labels={"Mine": "a", "mine": "é"})


def test_files_of_all_forms_are_layers_of_the_same_kind(write: Write) -> None:
    files = [
        write("hosts = ['a']\nport = 1\n".replace("hosts", "[shop]\nhosts"), "a.toml"),
        write("shop:\n  hosts: [b, c]\n  labels: {x: 'y'}\n", "b.yaml"),
        write('{"shop": {"labels": {"X": "z"}}}', "c.json"),
    ]

    read = layers(*files).settings([SHOP])[ShopSettings]

    assert (read.hosts, read.port, read.labels) == (("b", "c"), 1, {"x": "y", "X": "z"})


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("s.yaml", "shop:\n  port: [1\n", ", line 3, column 1: expected; the file must be YAML"),
        ("s.yaml", "shop:\n\tport: 1\n", ", line 2, column 1: found character; the file must be YAML"),
        ("s.yaml", "- shop\n", ": there are no names in it; the file must be YAML"),
        ("s.yaml", "shop: !!python/object/apply:os.getcwd []\n", ", line 1, column 7: could not determine"),
        ("s.json", '{"shop": {"port": 1,}}', ": "),
        ("s.json", "[1]", ": there are no names in it; the file must be JSON"),
    ],
)
def test_an_ill_formed_file_of_another_form_is_named(write: Write, name: str, content: str, fault: str) -> None:
    file = write(content, name)

    (found,) = file_faults(file)

    assert found.startswith(f"{file}{fault}")
    assert "the file must be " in found


def test_null_gives_a_field_back_its_default_and_takes_no_section_away(write: Write) -> None:
    file = write('logs = "docker"\n[shop]\ntip = 5\nport = 81\n[shop.labels]\na = "b"\n')
    later = write("logs:\nshop:\n  tip: null\n  labels:\npool:\n", "later.yaml")

    read = layers(file, later).settings([SHOP])

    assert read[LogsSettings].plugin == "docker"
    assert read[ShopSettings] == ShopSettings(port=81, labels={"a": "b"})


def test_a_type_is_asked_for_in_every_form(write: Write) -> None:
    yaml = write("shop: { username: 12345, port: '80', labels: { 1: a, on: null } }\n", "s.yaml")

    assert faults(layers(yaml)) == (
        f"shop.username: expected a string, got 12345 (from {yaml})",
        f"shop.port: expected a whole number of at least 1 and of at most 65535, got '80' (from {yaml})",
        f"shop.labels.on: expected a string, got null (from {yaml})",
    )


def test_an_unfinished_file_is_a_fault(write: Write) -> None:
    (fault,) = file_faults(write('[pool]\nmemory = "1 GB'))

    assert "line" in fault or "end of document" in fault


def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b'[node]\nunique_name = "caf\xe9"\n')

    (fault,) = file_faults(file)

    assert fault == f"{file}, line 2: not UTF-8; save the file in that encoding"


@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 10_000,
        "x = " + "[" * 40 + "]" * 40,
        ".".join(["a"] * 2000) + " = 1",
        "x = " + "{ a = " * 30 + "1" + "}" * 30,
        "x = " + "9" * 5000,
        "x = 0x" + "f" * 5000,
        "x = [18446744073709551616]",
        "x = [" + "1," * 20_000 + "]",
    ],
)
def test_what_no_setting_needs_is_refused_and_not_tried(write: Write, content: str) -> None:
    file = write(content)

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}")


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghij")),
        "a: &a [*a]\n",
        "a: &a { b: *a }\n",
        "a: " + "[" * 10_000,
    ],
)
def test_aliases_without_end_are_refused_and_not_followed(write: Write, content: str) -> None:
    file = write(content, "bomb.yaml")

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}")


def test_the_faults_of_all_files_and_arguments_come_at_once(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        layers(write("x"), tmp_path / "absent.toml", secrets=write("[", "secrets.toml"), overrides=["nonsense"])

    assert len(raised.value.faults) == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("secrets.toml", "[shop]\npassword = hunter2\n"),
        ("secrets.yaml", "shop:\n  password: *hunter2\n"),
        ("secrets.yaml", "shop:\n  password: !hunter2\n"),
        ("secrets.yaml", "shop:\n  password: hunter2: x\n"),
        ("secrets.yaml", "password: hunter2\npassword: hunter3\n"),
        ("secrets.yaml", "password:\n  'hunter2\n"),
        ("secrets.json", '{"password":\nhunter2}'),
    ],
)
def test_the_text_of_a_secrets_file_is_not_repeated(write: Write, name: str, content: str) -> None:
    (fault,) = file_faults(secrets=write(content, name))

    assert "line 2" in fault or "line 3" in fault
    assert "hunter" not in fault


def test_secrets_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()  # what `--secrets <(sops decrypt secrets.toml)` gives
    os.write(writing, b"[shop]\npassword = 'hunter2'\n")
    os.close(writing)

    read = layers(secrets=Path(f"/dev/fd/{reading}")).settings([SHOP])
    os.close(reading)

    assert read[ShopSettings].password == Secret("hunter2")


def test_a_file_without_the_right_to_read_it_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = write("")
    monkeypatch.setattr(Path, "open", refused)  # root may read everything

    assert file_faults(file) == (f"{file}: not readable for user {os.geteuid()}; give it that right",)
