"""Whoever tests a packet filter must be allowed to filter packets."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import program
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.firewall.filters import DOCKERS_RULES, change
from tests.plugins.firewall.machine import Machine, a_machine

PROGRAMS = ("iptables", "ip6tables")


@pytest.fixture(scope="session")
def filtering(absent: Callable[[str], None]) -> None:
    """Programs that filter packets, and the right to use them."""
    for name in ("ip", "iptables-save", "iptables-restore", "ip6tables-save"):
        program(name, absent)
    probe = subprocess.run(["unshare", "--net", "iptables-save", "-t", "filter"], capture_output=True, check=False)
    if probe.returncode != 0:
        absent("only root may filter packets")


@pytest.fixture
def machine(filtering: None) -> Iterator[Machine]:
    """A machine in miniature; the test is inside."""
    with a_machine() as made:
        yield made


@pytest.fixture
def kind(
    request: pytest.FixtureRequest,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    absent: Callable[[str], None],
) -> str:
    """Which kind of tables is the machine's default; its programs have the names without a kind."""
    kind: str = getattr(request, "param", "nft")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        for ending in ("", "-save", "-restore"):
            (programs / f"{name}{ending}").symlink_to(program(f"{name}-{kind}{ending}", absent))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return kind


@pytest.fixture
def forwarded(request: pytest.FixtureRequest, kind: str) -> str:
    """The chain that forwarded packets come by first: Docker's, or without Docker the kernel's own."""
    chain: str = getattr(request, "param", "DOCKER-USER")
    if chain == "DOCKER-USER":
        for name in PROGRAMS:
            change(DOCKERS_RULES, name)
    return chain
