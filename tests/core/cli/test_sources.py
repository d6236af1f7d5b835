"""What a folder becomes when it is packed."""

import base64
import io
import zipfile
from pathlib import Path

import click
import pytest

from invoker.cli.sources import function_from
from invoker.entities.function import Limits


def packed(folder: Path) -> list[str]:
    """Return the names of what is in the archive."""
    function = function_from(folder, path="guest", name="hello", kind=None, main=None, limits=Limits())
    assert function.binary
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(function.code))) as archive:
        return archive.namelist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A function beside a library."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.py").write_text("A = 1")
    function = tmp_path / "function"
    function.mkdir()
    (function / "__main__.py").write_text("import lib.a\ndef main(args): return {'a': lib.a.A}")
    return function


def test_a_linked_folder_is_packed_like_any_other(folder: Path) -> None:
    (folder / "lib").symlink_to("../lib")

    assert packed(folder) == ["__main__.py", "lib/a.py"]


@pytest.mark.parametrize("target", [".", "..", "../lib/.."])
def test_a_link_back_to_where_it_is_is_refused(folder: Path, target: str) -> None:
    (folder / "again").symlink_to(target)

    with pytest.raises(click.BadParameter, match="again is a link to a folder that it is in: remove the link"):
        packed(folder)
