"""The supervisor: one small process for each invoker, the parent of all its containers' processes.

It starts, watches, limits and kills them, and cleans up whatever becomes of the invoker. It has no event loop of
asyncio and no third-party package; see `core/decisions/0002-a-supervisor-owns-the-processes.md`.

Started by the invoker as a script, with a socket and its orders; of no use to anybody else.
"""

import os
import sys
import types

if __name__ == "__main__":  # find the other modules without the package's `__init__`, which needs the core and 5 MB
    sys.modules["invoker_process"] = _package = types.ModuleType("invoker_process")
    _package.__path__ = [os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120 (imports nothing)

import contextlib
import gc
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import Final

from invoker_process import cgroups, messages
from invoker_process.cgroups import ContainerGroup, ControlGroups, NoControlGroups, delegated
from invoker_process.directories import WorkingDirectories, delete, listen, sweep
from invoker_process.messages import MessageChannel, StartChild
from invoker_process.sampling import MEMORY, PROCESSES, Sampler, look
from invoker_process.spawning import PR_SET_CHILD_SUBREAPER, prctl, spawn

LOOK_AGAIN: Final = 0.1
"""Seconds after which it is looked whether what was killed is gone, should nobody tell."""


class Child:
    """One container: its first process, what limits it, and how far its end has come."""

    def __init__(
        self, order: StartChild, pid: int, directory: Path, group: ContainerGroup | None, sampler: Sampler | None
    ) -> None:
        self.order = order
        self.pid = pid
        self.directory = directory
        self.group = group
        self.sampler = sampler
        self.ended = False  # its first process has been waited for
        self.unwanted = False  # by the invoker

    def exceeded(self) -> str:
        """Look, and return the limit that it exceeded at any time, if there is one."""
        if self.group is not None and self.group.exhausted():
            return MEMORY
        return self.sampler.exceeded() if self.sampler is not None else ""

    def memory(self) -> messages.MemoryUse:
        """Tell what it has had, as far as was seen."""
        limit = self.group or self.sampler
        peak = limit.peak() if limit is not None else None
        return messages.MemoryUse(self.order.number, peak, self.exceeded() == MEMORY)

    def exited(self, status: int) -> messages.ChildExited:
        """Tell how its first process has ended."""
        self.ended = True
        remark = ""
        if self.exceeded() == PROCESSES:
            remark = f"The limit is {self.order.processes} processes and threads; the action was stopped with more."
        elif self.group is not None and self.group.refused():
            remark = f"The limit is {self.order.processes} processes and threads, which the action had reached."
        number, peak, exhausted = self.memory()
        return messages.ChildExited(number, os.waitstatus_to_exitcode(status), peak, exhausted, remark)


class Supervisor:
    """The parent of all containers. While one lives, what its processes leave behind stays below it.

    So a child of ours that is no container's first process was left behind by a container that is dead, whichever it
    was, and is killed. Only children are ever killed, and their process groups: their numbers can't have changed hands.
    That way the end of a tree is reached level by level, each told by the end of the one above.
    """

    def __init__(
        self, channel: MessageChannel, directories: WorkingDirectories, groups: ControlGroups | None, interval: float
    ) -> None:
        self._channel = channel
        self._directories = directories
        self._groups = groups
        self._interval = interval
        self._children: dict[int, Child] = {}
        self._by_pid: dict[int, Child] = {}  # those whose first process has not been waited for
        self._cleaners: dict[int, Child] = {}  # processes of ours that delete a working directory
        self._unsettled = False  # something was killed that has not been seen to end
        self._signals, written = socket.socketpair()  # readable when a child has ended
        self._signals.setblocking(False)  # noqa: FBT003 (takes no keyword)
        written.setblocking(False)  # noqa: FBT003 (same)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler of Python's, nothing is written
        signal.set_wakeup_fd(written.detach(), warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._selector.register(channel, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the invoker is gone, and then until nothing of its containers is left."""
        while not self._channel.ended or self._children:
            for key, _ in self._selector.select(self._pause()):
                if key.data is not None:
                    self._check(key.data)
            with contextlib.suppress(BlockingIOError):
                self._signals.recv(1 << 12)
            if not self._channel.ended:
                self._serve()
            self._reap()
            self._settle()
            for child in self._by_pid.values():
                if child.sampler is not None:
                    self._check(child)

    def _pause(self) -> float | None:
        """Seconds until something must be looked at that nothing tells of."""
        samplers = [child.sampler for child in self._by_pid.values() if child.sampler is not None]
        pauses = [max(sampler.due - time.monotonic(), 0) for sampler in samplers if sampler.due is not None]
        return min([*pauses, LOOK_AGAIN] if self._unsettled else pauses, default=None)

    def _serve(self) -> None:
        """Do what the invoker asks for; its end is the end of all containers."""
        for message, descriptors in self._channel.receive():
            match message:
                case StartChild():
                    self._start(message, descriptors)
                case messages.KillChild(number):
                    self._end(number)
                case messages.MemoryUse(number):
                    child = self._children.get(number)
                    self._channel.send(messages.MemoryUse(number) if child is None or child.ended else child.memory())
        if self._channel.ended:
            self._selector.unregister(self._channel)
            for number in self._children:
                self._end(number)
        else:
            room = 0 if self._channel.flush() else selectors.EVENT_WRITE
            self._selector.modify(self._channel, selectors.EVENT_READ | room)

    def _start(self, order: StartChild, streams: list[int]) -> None:
        """Start a container, and pass on what leads to its socket."""
        error, address = "", []
        try:
            with contextlib.ExitStack() as failed:
                directory = self._directories.make(order.number)
                failed.callback(delete, directory)
                group, sampled = None, {MEMORY: order.memory, PROCESSES: order.processes}
                if self._groups is not None:
                    group = self._groups.make(order.number, order.memory, order.processes)
                    failed.callback(group.close)
                    sampled = {} if self._groups.limits_processes else {PROCESSES: order.processes}
                listener, path = listen(directory)
                failed.callback(os.close, path)
                with listener:  # it is the child's alone, so that no request is taken for one that has ended
                    enter = group.enter if group is not None else None
                    pid = spawn(order, str(directory), [*streams, listener.fileno()], enter)
                failed.pop_all()
        except (OSError, ValueError) as failure:
            error = str(failure) or type(failure).__name__
        else:
            sampler = Sampler(pid, sampled, self._interval) if sampled else None
            child = self._children[order.number] = self._by_pid[pid] = Child(order, pid, directory, group, sampler)
            address = [path]
            if group is not None and group.event is not None:
                self._selector.register(group.event, selectors.EVENT_READ, child)
        finally:
            messages.close_all(streams)
        self._channel.send(messages.ChildStarted(order.number, error), address)

    def _end(self, number: int) -> None:
        """Have a container ended. What is below its first process shows up when that has ended."""
        child = self._children.get(number)
        if child is None:
            self._channel.send(messages.ChildGone(number))
        elif not child.unwanted:
            child.unwanted = True
            if not child.ended:
                _kill_group(child.pid)

    def _check(self, child: Child) -> None:
        """Kill a container that has exceeded a limit."""
        if not child.ended and child.exceeded():
            _kill_group(child.pid)

    def _reap(self) -> None:
        """Wait for what has ended; tell of first processes."""
        with contextlib.suppress(ChildProcessError):  # there are no children at all
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                pid, status = ended
                if (child := self._by_pid.pop(pid, None)) is not None:
                    self._channel.send(child.exited(status))
                elif (child := self._cleaners.pop(pid, None)) is not None:
                    self._forget(child)

    def _settle(self) -> None:
        """Kill what the dead left behind; clean up after those who left nothing."""
        ended = [child for child in self._children.values() if child.ended]
        ours = self._by_pid.keys() | self._cleaners.keys()
        strays = [pid for pid in look(os.getpid())[1] if pid not in ours] if ended else []
        dying = [stray for stray in strays if _kill_group(stray)]
        self._unsettled = bool(dying) or any(child.unwanted for child in self._children.values())
        if not dying:
            cleaning = self._cleaners.values()
            for child in ended:
                if child.unwanted and child not in cleaning:
                    self._clean(child)

    def _clean(self, child: Child) -> None:
        """Delete the working directory: at once if it is empty, or in a process of its own, for it may take long."""
        if child.group is not None:
            if child.group.event is not None:
                self._selector.unregister(child.group.event)
            child.group.close()
        try:
            child.directory.rmdir()
        except OSError:
            cleaner = os.fork()
            if cleaner == 0:
                try:
                    delete(child.directory)
                finally:
                    os._exit(0)
            self._cleaners[cleaner] = child
        else:
            self._forget(child)

    def _forget(self, child: Child) -> None:
        del self._children[child.order.number]
        self._channel.send(messages.ChildGone(child.order.number))


def _kill_group(pid: int) -> bool:
    """Kill a child and its process group; return whether it will end, which a setuid program of another user won't."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)  # at once, so that none of it can fork in between
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return True


def main() -> None:
    """Clean up after supervisors that were killed, say that all is ready, and serve until the invoker is gone."""
    descriptor, base, cgroup, interval, invoker = sys.argv[1:]
    channel = MessageChannel(socket.socket(fileno=int(descriptor)))
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the invoker decides when its containers end
        signal.signal(ignored, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        channel.send(messages.SupervisorReady("process: the kernel lists no children (CONFIG_PROC_CHILDREN)"))
        return
    try:
        directories = WorkingDirectories(Path(base))
        sweep(Path(base))
    except OSError as error:
        channel.send(messages.SupervisorReady(f"process.work_dir: {error.filename or base}: {error.strerror}"))
        return
    groups, limits = None, "sampling"
    if cgroup != "off":
        try:
            groups = delegated(directories.path.name, int(invoker))
            directories.remember(groups.paths)
            limits = f"control groups in {groups.paths[0]}" + ("" if groups.limits_processes else ", and by sampling")
        except NoControlGroups as error:
            limits = f"sampling: {error}"
    supervisor = Supervisor(channel, directories, groups, float(interval))
    channel.send(messages.SupervisorReady("", limits))
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, what each fork shares with its child
    try:
        supervisor.run()
    finally:
        if groups is not None:
            for path in groups.paths:
                cgroups.remove(path)
    delete(directories.path)


if __name__ == "__main__":
    main()
