"""Both kinds of event loop, for tests of what lives close to one: a `conftest.py` imports the hook."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

_OF_PACKETS: Final = ("test_packets.py", "test_containers.py")
_OF_LOOPS: Final = ("test_contract.py", "test_attach.py")
"""What of the Docker plugin's tests on real engines is about event loops: the others are about engines."""


def _uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test on each of them."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": _uvloop}


def is_spared(item: pytest.Item) -> bool:
    """Whether a test that takes long would learn nothing new on asyncio's own loop.

    That is what an engine answers, which both loops hear through the same sockets, and what the kernel does with
    packets. All were on uvloop; together they would take five minutes more.
    """
    arguments: Mapping[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    if arguments.get("_asyncio_loop_factory") is not asyncio.new_event_loop:
        return False
    folder, file = Path(item.path).parts[-2:]
    engines = {"docker", "engine"} & set(getattr(item, "fixturenames", ()))
    return (
        arguments.get("engine") == "podman"
        or (folder == "runtime_docker" and file not in _OF_LOOPS and bool(engines))
        or (folder == "firewall" and file in _OF_PACKETS)
    )
