"""What every command starts from."""

import os
from pathlib import Path

from invoker.cli.program import default_files


def test_the_default_files_are_those_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "invoker.toml").touch()

    named = default_files({"INVOKER_CONFIG": os.pathsep.join(["a.toml", "/etc/b.toml"])}, tmp_path)

    assert named == [tmp_path / "a.toml", Path("/etc/b.toml")]


def test_the_default_file_is_the_one_of_the_working_directory(tmp_path: Path) -> None:
    absent = default_files({}, tmp_path)
    (tmp_path / "invoker.toml").touch()
    present = default_files({"INVOKER_CONFIG": ""}, tmp_path)

    assert absent == []
    assert present == [tmp_path / "invoker.toml"]
