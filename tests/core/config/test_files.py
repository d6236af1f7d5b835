"""Files that can't be read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.errors import SettingsError
from tests.core.config.shop import layers

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


@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 300])
def test_a_name_that_no_file_can_have_is_a_fault(tmp_path: Path, name: str) -> None:
    (fault,) = file_faults(tmp_path / name)

    assert "name another file" in fault


def test_an_ill_formed_file_is_named_with_the_line(write: Write) -> None:
    file = write("[pool]\n\nmemory = 1 GB\n")

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}, line 3, column 12: ")
    assert fault.endswith("the file must be TOML, where text stands in quotes")


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
    ],
)
def test_what_no_setting_needs_is_refused_and_not_tried(write: Write, content: str) -> None:
    file = write(content)

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}")


def test_the_faults_of_all_files_and_arguments_come_at_once(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        layers(write("x"), tmp_path / "absent.toml", secrets=write("[", "secrets.toml"), overrides=["nonsense"])

    assert len(raised.value.faults) == 4


def test_the_text_of_a_secrets_file_is_not_repeated(write: Write) -> None:
    (fault,) = file_faults(secrets=write("[shop]\npassword = hunter2\n", "secrets.toml"))

    assert "line 2" in fault
    assert "hunter2" not in fault
