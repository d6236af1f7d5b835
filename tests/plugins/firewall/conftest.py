"""Whoever tests a packet filter must be allowed to filter packets."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import program
from tests.loops import pytest_asyncio_loop_factories  # noqa: F401 (pytest finds it here)
from tests.plugins.firewall.machine import Machine, a_machine


@pytest.fixture(scope="session")
def filtering(absent: Callable[[str], None]) -> None:
    """Programs that filter packets, and the right to use them."""
    for name in ("ip", "nft", "iptables-nft-restore", "iptables-legacy-restore"):  # the latter are other people's
        program(name, absent)
    probe = subprocess.run(["unshare", "--net", "nft", "list", "ruleset"], capture_output=True, check=False)
    if probe.returncode != 0:
        absent("only root may filter packets")


@pytest.fixture
def machine(filtering: None) -> Iterator[Machine]:
    """A machine in miniature; the test is inside."""
    with a_machine() as made:
        yield made
