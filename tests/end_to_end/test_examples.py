"""The examples work where their readers try them: outside this repository."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)  # it downloads what a stranger downloads
def test_a_stranger_builds_and_tests_the_example_store(tmp_path: Path) -> None:
    wheels, example = tmp_path / "wheels", tmp_path / "store_files"
    shutil.copytree(ROOT / "examples" / "store_files", example, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"

    run(python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ROOT, example)
    (invoker,) = wheels.glob("functions_invoker-*.whl")
    (store,) = wheels.glob("invoker_files-*.whl")
    run(python, "-m", "pip", "install", "--quiet", f"{invoker}[testing]", store)
    (example / "invoker_files.py").unlink()  # what is tested is what was installed

    said = run(python, "-m", "pytest", "-q", "tests", cwd=example)

    assert " passed" in said
    assert not {"failed", "skipped", "error"} & set(said.replace(",", " ").split())


def run(*command: object, cwd: Path | None = None) -> str:
    """Run a program; if it fails, so does the test, with all that was said."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout}")
    sys.stdout.write(done.stdout)
    return done.stdout
