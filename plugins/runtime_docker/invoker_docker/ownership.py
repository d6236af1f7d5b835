"""Whose containers are whose: labels on the engine, and a lock on this machine.

The lock is in the state directory. Two invokers of one identity with different state directories, such as those of two
users, or in containers of their own, don't see each other's; only the engine knows of both. What can be told there:

* As an invoker opens, whatever has its identity is removed. The containers of another that lives look like those that a
  killed one has left. That can happen once for each opening.
* What comes later with its identity, not of this life and running, is another's that lives. **It is left alone**,
  whoever of the two sees it. Would each remove the other's, both lost every container once a minute, and with them
  activations that have begun; so both work, and both complain until one is given a name. Nor does either free a name
  that the other's container has, or remove the other's at its end.
* The price: what such another leaves when it is killed stays until either opens again.
* One that was created and never started is removed: it came of a call that a killed invoker had made before this one
  looked. If it is another's after all, that one's start is tried again.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from invoker.config import NodeSettings, state_dir
from invoker.entities.container import ContainerSpec
from invoker.errors import Occupied, SettingsError
from invoker_docker.settings import LABEL_PREFIX

OWNER_LABEL: Final = f"{LABEL_PREFIX}owner"
NAME_LABEL: Final = f"{LABEL_PREFIX}name"
BOOT_LABEL: Final = f"{LABEL_PREFIX}boot"
_BOOT_BYTES: Final = 8


class Owner(msgspec.Struct, frozen=True):
    """One invoker in one of its lives."""

    identity: str
    """The same in all its lives, and nobody else's: `3`, or `3/node-b` where it has a unique name."""
    boot: str
    """This life."""

    def labels(self, name: str, spec: ContainerSpec) -> dict[str, str]:
        """Return the labels of a container that is created as `name`."""
        labels = {
            OWNER_LABEL: self.identity,
            BOOT_LABEL: self.boot,
            NAME_LABEL: name,
            f"{LABEL_PREFIX}runtime": spec.runtime.kind,
            f"{LABEL_PREFIX}namespace": spec.namespace,
            f"{LABEL_PREFIX}action": spec.action,
        }
        return {label: value for label, value in labels.items() if value}

    @property
    def mark(self) -> Mapping[str, str]:
        """What all containers have that are its own, in any of its lives."""
        return {OWNER_LABEL: self.identity}

    def owns(self, name: str, labels: Mapping[str, Any] | None) -> bool:
        """Whether a container is its own.

        An image may have labels, too, which its containers inherit: a stranger's container can have got our owner label
        so, but not its own name.
        """
        given = labels or {}
        return given.get(OWNER_LABEL) == self.identity and given.get(NAME_LABEL) == name

    def of_another_life(self, labels: Mapping[str, Any] | None) -> bool:
        """Whether a container of its own says that it comes from another life than this one."""
        return str((labels or {}).get(BOOT_LABEL, self.boot)) != self.boot


def identity(node: NodeSettings) -> str:
    """Return what an invoker is known by."""
    return str(node.id) if node.unique_name is None else f"{node.id}/{node.unique_name}"


@contextmanager
def owning(node: NodeSettings) -> Iterator[Owner]:
    """Be the only one with this identity on this machine, for as long as the context lasts.

    The lock ends with the process, however that ends; the file stays.

    Raises:
        Occupied: another process has the lock.
        SettingsError: the state directory can't be used.
    """
    owner = Owner(identity(node), secrets.token_hex(_BOOT_BYTES))
    path = state_dir(node) / f"docker-{quote(owner.identity, safe='')}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't open {path}: {error.strerror}"]) from error
    try:
        _lock(descriptor, path, owner)
        yield owner
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, owner: Owner) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        fault = (
            f"node.id: another invoker that is {owner.identity!r} has locked {path} (process {holder or 'unknown'}): "
            "each would remove the other's containers. Stop it, or give this one a node.unique_name that no other has"
        )
        raise Occupied(fault, holder=int(holder) if holder.isdecimal() else None) from None
    except OSError as error:
        raise SettingsError([f"node.state_dir: can't lock {path}: {error.strerror}"]) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
