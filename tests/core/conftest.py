from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a settings file; return its path."""

    def written(content: str, name: str = "invoker.toml") -> Path:
        file = tmp_path / name
        file.write_text(content, encoding="utf-8")
        return file

    return written
