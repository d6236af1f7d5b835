"""Settings files: TOML, and what is wrong with one in words that help."""

import os
import re
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from invoker.config.layer import Excessive, Layer, Origin, check, wrapped
from invoker.config.spelling import printable

DEFAULT_FILE: Final = "invoker.toml"

_POSITION: Final = re.compile(r"(?P<reason>.*) \(at (?P<place>line \d+, column \d+|end of document)\)", re.DOTALL)


class Unusable(ValueError):
    """A file can't be read; says which, where and what to do."""


class FilesRead(msgspec.Struct, frozen=True):
    """What the files say, and what is wrong with them."""

    layers: tuple[Layer, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def read_files(files: Sequence[Path], secrets: Path | None) -> FilesRead:
    """Read every file, the secrets last; one that can't be used doesn't hide what is wrong with the next."""
    layers: list[Layer] = []
    faults: list[str] = []
    warnings: list[str] = []
    for file in (*files, *([secrets] if secrets is not None else [])):
        try:
            content, mode = _content(file)
            layers.append(Layer(Origin("file", str(file)), wrapped(_table(file, content))))
        except Unusable as error:
            faults.append(str(error))
        else:
            if file is secrets and mode & stat.S_IROTH:
                warnings.append(
                    f"{_name(file)} holds secrets and every user of this machine can read it: "
                    "take that right away with chmod o-rwx"
                )
    return FilesRead(tuple(layers), tuple(faults), tuple(warnings))


def _content(file: Path) -> tuple[bytes, int]:
    try:
        with file.open("rb") as opened:
            return opened.read(), os.fstat(opened.fileno()).st_mode
    except FileNotFoundError:
        remedy = "name one that is there, or write a new one with 'invoker config init'"
        raise Unusable(f"{_name(file)}: there is no such file; {remedy}") from None
    except IsADirectoryError:
        raise Unusable(f"{_name(file)}: this is a directory; name the file in it") from None
    except PermissionError:
        raise Unusable(f"{_name(file)}: not readable for user {os.geteuid()}; give it that right") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unusable(f"{_name(file)}: can't be read: {error}; name another file") from None


def _table(file: Path, content: bytes) -> dict[str, object]:
    try:
        table = tomllib.loads(content.decode())
        check(table)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unusable(f"{_name(file)}, line {line}: not UTF-8; save the file in that encoding") from None
    except (RecursionError, Excessive) as error:
        reason = error if isinstance(error, Excessive) else "nested too deep"
        raise Unusable(f"{_name(file)}: {reason}; no setting needs that") from None
    except ValueError as error:  # TOMLDecodeError is one; a number of more than 4300 digits is another
        raise Unusable(_ill_formed(file, str(error))) from None
    return table


def _ill_formed(file: Path, message: str) -> str:
    match = _POSITION.fullmatch(message)
    if match is None:
        return f"{_name(file)}: {message}; the file must be TOML"
    return f"{_name(file)}, {match['place']}: {match['reason']}; the file must be TOML, where text stands in quotes"


def _name(file: Path) -> str:
    return printable(str(file))
