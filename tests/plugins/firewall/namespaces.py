"""Network namespaces of a test's own: they have no name, so that nothing of them can be left behind."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    """A network namespace; the thread that enters it opens its sockets and starts its programs there."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @property
    def path(self) -> str:
        """A name by which programs find it."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _checked(_libc.setns(self.descriptor, CLONE_NEWNET))
            yield
        finally:
            _checked(_libc.setns(home, CLONE_NEWNET))
            os.close(home)


@contextmanager
def new_namespace() -> Iterator[Namespace]:
    """Make one; with the last descriptor and process in it goes all that is in it."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
        try:
            descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        finally:
            _checked(_libc.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)
    try:
        namespace = Namespace(descriptor)
        with namespace.entered():
            for scope in ("all", "default"):  # or no IPv6 address is of use before a second is over
                Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_dad").write_text("0")
            ip("link set lo up")
        yield namespace
    finally:
        os.close(descriptor)


def ip(command: str) -> None:
    """Run `ip`, in the namespace that the caller is in."""
    done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {command}: {done.stderr}"


def add_address(address: str, interface: str) -> None:
    """Give an interface an address that is of use at once: an IPv6 address isn't before it was looked for elsewhere."""
    ip(f"addr add {address} dev {interface}{' nodad' if ':' in address else ''}")
