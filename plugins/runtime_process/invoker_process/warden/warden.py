"""Wards and their warden: starts containers, watches them, and sees each to its end."""

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from invoker_process.frames import Ask, Exited, Gone, Kill, Message, Spawn, Spawned, Told
from invoker_process.warden.line import Line, close
from invoker_process.warden.memory import Account
from invoker_process.warden.places import Place, delete
from invoker_process.warden.processes import Processes, tree
from invoker_process.warden.spawning import Start, start

LOOK_AGAIN: Final = 0.1
"""Seconds after which it is looked whether what was killed is gone, should nobody tell."""
_LINUX: Final = sys.platform == "linux"


class Ward:
    """One container: its first process, what watches its memory, and how far its end has come."""

    def __init__(self, number: int, directory: Path, account: Account) -> None:
        self.number = number
        self.directory = directory
        self.account = account
        self.pid = 0
        self.ended = False
        """Its first process has been waited for."""
        self.exhausted = False
        self.doomed = False
        """The invoker wants it gone."""


class Warden:
    """The parent of all containers. While one lives, what its processes leave behind stays below it.

    So a child of the warden that is no container's first process was left behind by a container that is dead, whichever
    it was, and is killed. Only children are ever killed, and their process groups: their numbers can't have changed
    hands. That way the end of a tree is reached level by level, each told by the end of the one above.
    """

    def __init__(
        self, connection: socket.socket, place: Place, account: Callable[[Spawn], Account], processes: Processes
    ) -> None:
        self._place = place
        self._account = account
        self._processes = processes
        self._wards: dict[int, Ward] = {}
        self._by_pid: dict[int, Ward] = {}
        """Those whose first process has not been waited for."""
        self._cleaners: dict[int, Ward] = {}
        """Processes of ours that delete a work directory."""
        self._selector = selectors.DefaultSelector()
        self._line = Line(connection, self._selector)
        self._wakeup = _Wakeup()
        self._unsettled = False
        """Something was killed that has not been seen to end."""
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def tell(self, message: Message) -> None:
        """Tell the invoker something."""
        self._line.send(message)

    def run(self) -> None:
        """Serve until the invoker is gone, and then until nothing of its containers is left."""
        while self._line.open or self._wards:
            for key, _ in self._selector.select(self._pause()):
                if key.data is not None:
                    self._look(key.data)
            self._wakeup.clear()
            self._serve()
            self._reap()
            self._settle()
            self._watch()
        self._place.remove()

    def _serve(self) -> None:
        for message, descriptors in self._line.requests():
            if isinstance(message, Spawn):
                self._spawn(message, descriptors)
            elif isinstance(message, Kill):
                self._doom(message.ward)
            elif isinstance(message, Ask):
                self._line.send(Told(message.ward, self._peak(message.ward)))
        if not self._line.open:
            for number in self._wards:
                self._doom(number)

    def _peak(self, number: int) -> int | None:
        ward = self._wards.get(number)
        return None if ward is None or ward.ended else ward.account.look()

    def _spawn(self, order: Spawn, descriptors: list[int]) -> None:
        error = ""
        try:
            self._keep(self._started(order, descriptors))
        except (OSError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        finally:
            close(descriptors)
        self._line.send(Spawned(order.ward, error))

    def _started(self, order: Spawn, descriptors: list[int]) -> Ward:
        with contextlib.ExitStack() as failed:
            directory = self._place.directory(order.ward)
            failed.callback(delete, directory)
            account = self._account(order)
            failed.callback(account.close)
            ward = Ward(order.ward, directory, account)
            home = str(directory)
            environment = order.environment | {"HOME": home, "TMPDIR": home}
            what = Start(order.argv, environment, home, descriptors, order.open_files, order.file_size)
            ward.pid = start(what, account.enter)
            failed.pop_all()
        return ward

    def _keep(self, ward: Ward) -> None:
        self._wards[ward.number] = ward
        self._by_pid[ward.pid] = ward
        ward.account.begin(ward.pid)
        if ward.account.descriptor is not None:
            self._selector.register(ward.account.descriptor, selectors.EVENT_READ, ward)

    def _doom(self, number: int) -> None:
        ward = self._wards.get(number)
        if ward is None:
            self._line.send(Gone(number))
        elif not ward.doomed:
            ward.doomed = True
            self._kill(ward)

    def _kill(self, ward: Ward) -> None:
        """Kill a container's first process with its group; what is below shows up when that has ended."""
        if not ward.ended:
            below = [] if _LINUX else list(tree(self._processes, ward.pid))
            for victim in (ward.pid, *below):
                _kill_group(victim)

    def _reap(self) -> None:
        """Wait for what has ended; tell of first processes."""
        for pid, status in _ended():
            if (ward := self._by_pid.pop(pid, None)) is not None:
                ward.ended = True
                exhausted = ward.exhausted or ward.account.exhausted()
                code = os.waitstatus_to_exitcode(status)
                self._line.send(Exited(ward.number, code, exhausted, ward.account.peak))
            elif (ward := self._cleaners.pop(pid, None)) is not None:
                self._forget(ward)

    def _settle(self) -> None:
        """Kill what the dead left behind; clean up after those who left nothing."""
        ended = [ward for ward in self._wards.values() if ward.ended]
        strays = [pid for pid in self._processes.children(os.getpid()) if self._is_stray(pid)] if ended else []
        dying = [stray for stray in strays if _kill_group(stray)]
        self._unsettled = bool(dying) or any(ward.doomed for ward in self._wards.values())
        if not dying:
            cleaning = self._cleaners.values()
            for ward in ended:
                if ward.doomed and ward not in cleaning:
                    self._clean(ward)

    def _is_stray(self, pid: int) -> bool:
        return pid not in self._by_pid and pid not in self._cleaners

    def _clean(self, ward: Ward) -> None:
        """Delete the work directory: at once if it is empty, or in a process of its own, for it may take long."""
        if ward.account.descriptor is not None:
            self._selector.unregister(ward.account.descriptor)
        ward.account.close()
        try:
            ward.directory.rmdir()
        except OSError:
            cleaner = os.fork()
            if cleaner == 0:
                try:
                    delete(ward.directory)
                finally:
                    os._exit(0)
            self._cleaners[cleaner] = ward
        else:
            self._forget(ward)

    def _forget(self, ward: Ward) -> None:
        del self._wards[ward.number]
        self._line.send(Gone(ward.number))

    def _watch(self) -> None:
        for ward in self._by_pid.values():
            if ward.account.due is not None:
                self._look(ward)

    def _look(self, ward: Ward) -> None:
        """Kill a container that has reached its memory limit."""
        if ward.account.exhausted() and not ward.exhausted and not ward.ended:
            ward.exhausted = True
            self._kill(ward)

    def _pause(self) -> float | None:
        """Seconds until something must be looked at that nothing tells of."""
        dues = [due for ward in self._by_pid.values() if (due := ward.account.due) is not None]
        pauses = [max(min(dues) - time.monotonic(), 0)] if dues else []
        if self._unsettled:
            pauses.append(LOOK_AGAIN)
        return min(pauses, default=None)


def _ended() -> Iterator[tuple[int, int]]:
    """Wait for children that have ended; yield number and status of each."""
    with contextlib.suppress(ChildProcessError):  # there are none at all
        while (found := os.waitpid(-1, os.WNOHANG))[0] != 0:
            yield found


def _kill_group(pid: int) -> bool:
    """Kill a child and its process group; return whether it will end, which a setuid program of another user won't."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)  # at once, so that none of it can fork in between
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


class _Wakeup:
    """Readable when a child has ended."""

    def __init__(self) -> None:
        self._readable, self._written = socket.socketpair()
        self._readable.settimeout(0)
        self._written.settimeout(0)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler of Python's, nothing is written
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return what a selector wants."""
        return self._readable.fileno()

    def clear(self) -> None:
        """Wait for the next."""
        with contextlib.suppress(BlockingIOError):
            self._readable.recv(1 << 12)
