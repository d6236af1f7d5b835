"""The images of `examples/docker`, on every engine: built once, and found again until something in them changes."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

import pytest

BUILD = Path(__file__).parents[2] / "examples" / "docker" / "build.sh"

Absent = Callable[[str], None]


class Images(NamedTuple):
    """Names with a tag that never means another image, so that several work trees can use one engine."""

    python: str
    nodejs: str
    layout_nodejs: str
    """Starts with a relative command in its own working directory and unpacks there, as OpenWhisk's Node.js image."""
    actionloop: str
    """Runs programs that it writes beside itself, as OpenWhisk's images for compiled languages."""


@pytest.fixture(scope="session")
def docker_images(docker: str, absent: Absent) -> Images:
    """The images, on the Docker engine."""
    return images_on(docker, absent)


@pytest.fixture(scope="session")
def podman_images(podman: str, absent: Absent) -> Images:
    """The images, on podman."""
    return images_on(podman, absent)


@pytest.fixture(scope="session")
def images(engine: str, absent: Absent) -> Images:
    """The images, on each engine."""
    return images_on(engine, absent)


@functools.cache  # the fixtures may be defined more than once: wherever they are imported
def images_on(url: str, absent: Absent) -> Images:
    """Return the images when they are there: copied from the Docker engine to podman, which is quick, or built.

    `TEST_BASE` names the base of them, such as `debian:bookworm-slim`; without it they are made of Debian packages.
    """
    source = os.environ.get("TEST_DOCKER")
    if source in {None, "", url}:
        return built_on(url, absent)
    made = images_on(source, absent)
    if run(url, "image", "inspect", *made).returncode:
        copy(made, source, url)
    return made


def built_on(url: str, absent: Absent) -> Images:
    """Build them, unless they are there."""
    base = os.environ.get("TEST_BASE")
    for program in ("docker",) if base else ("docker", "mmdebstrap"):
        if shutil.which(program) is None:
            absent(f"there is no `{program}` on PATH, to build images with")
    command = [str(BUILD), base] if base else [str(BUILD)]
    done = subprocess.run(command, env=os.environ | {"DOCKER_HOST": url}, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{BUILD} failed:\n{done.stderr}")
    references = {name.replace("-", "_"): image for name, image, _ in map(str.split, done.stdout.splitlines())}
    return Images(**references)


def copy(images: Images, source: str, url: str) -> None:
    """Copy images from one engine to another."""
    with subprocess.Popen(["docker", "-H", source, "save", *images], stdout=subprocess.PIPE) as saving:
        loading = run(url, "load", stdin=saving.stdout)
    assert (saving.returncode, loading.returncode) == (0, 0), loading.stderr


def run(url: str, *arguments: str, stdin: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the engine's command line on an engine."""
    return subprocess.run(["docker", "-H", url, *arguments], stdin=stdin, capture_output=True, text=True, check=False)
