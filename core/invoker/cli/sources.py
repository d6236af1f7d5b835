"""Functions from files and folders: which kind they are, and their code as `/init` takes it."""

import base64
import io
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path

import click

from invoker.entities.function import Function, Limits
from invoker.wire.attachment import binary_code
from invoker.wire.function import with_digest

_KINDS = {".py": "python:default", ".js": "nodejs:default", ".mjs": "nodejs:default", ".cjs": "nodejs:default"}
_MARKS = {"__main__.py": "python:default", "package.json": "nodejs:default", "index.js": "nodejs:default"}
_SKIPPED = frozenset({".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache"})
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""One date for all members: the same folder gives the same archive, and so the same warm containers."""


def function_from(
    source: Path, *, path: str, name: str, kind: str | None, main: str | None, limits: Limits
) -> Function:
    """Read a function: a source file, a zip archive, or a folder, which is packed.

    Raises:
        click.BadParameter: it can't be read, or nobody can tell its kind.
    """
    try:
        code, binary, guess = _read(source)
    except OSError as error:
        raise click.BadParameter(f"can't read {source}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{source} is neither UTF-8 text nor a zip archive") from error
    chosen = kind or guess
    if chosen is None:
        raise click.BadParameter(f"can't tell the kind of {source}: say it, such as --kind python:default")
    return with_digest(Function(path=path, name=name, kind=chosen, code=code, binary=binary, main=main, limits=limits))


def _read(source: Path) -> tuple[str, bool, str | None]:
    """Return code, whether it is an archive, and the kind it looks like."""
    if source.is_dir():
        archive = _packed(source)
        return base64.b64encode(archive).decode(), True, _kind_of_archive(archive)
    content = source.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(content)):
        return base64.b64encode(content).decode(), True, _kind_of_archive(content)
    text = content.decode()
    return text, binary_code(text), _KINDS.get(source.suffix)


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for parent, folders, files in os.walk(folder, followlinks=True):
            folders[:] = sorted(set(folders) - _SKIPPED)
            _check_links(parent, folders)
            for name in sorted(files):
                file = Path(parent, name)
                member = zipfile.ZipInfo(str(file.relative_to(folder)), _EPOCH)
                member.compress_type = zipfile.ZIP_DEFLATED
                member.external_attr = (file.stat().st_mode & 0o777 | stat.S_IFREG) << 16
                archive.writestr(member, file.read_bytes())
    return packed.getvalue()


def _check_links(parent: str, folders: Iterable[str]) -> None:
    """Refuse a link to a folder that the link itself is in: following it would have no end."""
    for name in folders:
        if Path(parent).resolve().is_relative_to(Path(parent, name).resolve()):
            raise click.BadParameter(f"{Path(parent, name)} is a link to a folder that it is in: remove the link")


def _kind_of_archive(archive: bytes) -> str | None:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        names = set(opened.namelist())
    return next((kind for mark, kind in _MARKS.items() if mark in names), None)
