"""The examples work where their readers try them: outside this repository."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine of somebody else's: a fresh environment with our wheel in it, and a folder to work in."""
    home = tmp_path_factory.mktemp("stranger")
    venv.create(home / "venv", with_pip=True)
    install(home, ROOT, extras="testing")
    return home


@pytest.mark.timeout(600)  # it downloads what a stranger downloads
def test_a_stranger_builds_and_tests_the_example_store(stranger: Path) -> None:
    example = copied("store_files", stranger)
    install(stranger, example)
    (example / "invoker_files.py").unlink()  # what is tested is what was installed

    assert_passes(stranger, example)


@pytest.mark.timeout(600)
def test_a_stranger_keeps_actions_and_records_in_the_example_store(stranger: Path) -> None:
    install(stranger, copied("store_files", stranger))
    function = stranger / "hello.py"
    function.write_text("def main(args):\n    return {}\n")
    roles = ["--set", "functions=files", "--set", "activations=files", "--set", f"files.directory={stranger}/files"]
    invoker = [python(stranger), "-m", "invoker", *roles, "--set", f"node.state_dir={stranger}"]

    run(*invoker, "action", "put", "hello", function)
    run(*invoker, "invoke", "hello")

    assert "guest/hello" in run(*invoker, "action", "list")
    assert "guest/hello" in run(*invoker, "activation", "list")


@pytest.mark.timeout(600)
def test_a_stranger_watches_activations_with_the_example_observer(stranger: Path) -> None:
    example = copied("metrics", stranger)
    install(stranger, example)
    function = stranger / "hello.py"
    function.write_text("def main(args):\n    return {}\n")
    settings = ["--set", 'extra=["busiest"]', "--set", f"node.state_dir={stranger}"]

    said = run(python(stranger), "-m", "invoker", *settings, "invoke", function, "--repeat", 3)

    assert "3  /guest/hello" in said
    shutil.rmtree(example / "invoker_example_metrics")
    assert_passes(stranger, example)


def assert_passes(home: Path, example: Path) -> None:
    """Run an example's own tests on what was installed."""
    said = run(python(home), "-m", "pytest", "-q", "tests", cwd=example)

    assert " passed" in said
    assert not {"failed", "skipped", "error"} & set(said.replace(",", " ").split())


def copied(example: str, home: Path) -> Path:
    """Copy an example out of the repository."""
    there = home / example
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / example, there, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return there


def install(home: Path, project: Path, *, extras: str = "") -> None:
    """Build a project's wheel and install that."""
    wheels = home / "wheels" / project.name
    run(python(home), "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, project)
    (wheel,) = wheels.glob("*.whl")
    run(python(home), "-m", "pip", "install", "--quiet", f"{wheel}[{extras}]" if extras else wheel)


def python(home: Path) -> Path:
    """The stranger's Python."""
    return home / "venv" / "bin" / "python"


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
