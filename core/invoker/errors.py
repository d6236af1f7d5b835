"""Every exception the invoker raises on purpose.

    InvokerError
    ├── SettingsError              the configuration can't be used; lists every fault at once
    ├── PluginError
    │   ├── PluginNotInstalled     named in the settings, absent from the environment
    │   ├── PluginBroken           installed, but importing it or its hooks failed
    │   │   └── ModuleMissing      it needs a library that is not installed
    │   ├── ProviderCount          none, or several, where exactly one plugin must answer
    │   └── BrokenContract         what a plugin opened lacks a method
    ├── RequestError
    │   ├── MalformedRequest       not an activation message; nothing was accepted
    │   ├── Busy                   no room for the message or its record; nothing was accepted
    │   └── Draining               the invoker is about to stop; nothing was accepted
    ├── Undecryptable              a locked parameter can't be opened
    ├── StoreError
    │   ├── FunctionNotFound       deleted, or never there
    │   ├── FunctionUnreadable     there, but no function this invoker understands
    │   ├── StoreUnavailable       worth another try
    │   ├── RecordsRefused         the store will never take these; the others are in
    │   └── NotSupported           the store lacks an optional contract
    └── ContainerError
        ├── StartFailed            no container came of it
        ├── NoRoom                 no container now: others hold what it needs
        ├── Unreachable            nothing was sent; another container may serve
        ├── Aborted                another activation's `/init` failed, which this one waited for
        ├── Lost                   gone, silent or out of memory in the middle of a request; `.state` says which
        └── PostTimedOut           no answer in time

A function that fails isn't in this list: it is an `Outcome`, returned, recorded and
acknowledged like any other. Exceptions are for *our* failures.
"""

from collections.abc import Mapping, Sequence

from invoker.entities.activation import Outcome
from invoker.entities.container import ContainerState


class InvokerError(Exception):
    """What the invoker raises on purpose."""


class SettingsError(InvokerError):
    """The settings can't be used. `faults` has one line for each thing that is wrong."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Occupied(SettingsError):
    """What only one can have is somebody else's, such as a lock or a port: process `holder`'s, if that is known."""

    def __init__(self, fault: str, *, holder: int | None = None) -> None:
        self.holder = holder
        super().__init__([fault])


class PluginError(InvokerError):
    """A plugin is missing or doesn't do what it must."""


class PluginNotInstalled(PluginError):
    """The settings name a plugin that no installed distribution provides. `setting` is where; `meant` it may be."""

    def __init__(self, name: str, installed: Sequence[str], *, setting: str, meant: str | None = None) -> None:
        self.name = name
        self.installed = tuple(installed)
        self.setting = setting
        self.meant = meant
        advice = f"Did you mean {meant!r}? Else install" if meant else "Install"
        super().__init__(
            f"{setting}: no plugin named {name!r} is installed; installed are: {', '.join(installed) or 'none'}. "
            f"{advice} the distribution that provides it, or name another in {setting}"
        )


class PluginBroken(PluginError):
    """An installed plugin, which `setting` names, can't be loaded: `reason` is in the words of what failed."""

    def __init__(self, name: str, reason: str, *, setting: str | None = None) -> None:
        self.name = name
        self.reason = reason
        self.setting = setting
        where = "" if setting is None else f"{setting}: "
        super().__init__(f"{where}plugin {name!r} can't be loaded: {reason}")


class ModuleMissing(PluginBroken):
    """A plugin needs a Python module that is not installed. `install` is what brings it, if that is known."""

    def __init__(self, name: str, module: str, *, setting: str | None = None, install: str | None = None) -> None:
        self.module = module
        self.install = install
        remedy = f"pip install {install!r}" if install else "install the distribution that has it"
        other = f", or name another plugin in {setting}" if setting else ""
        super().__init__(name, f"the Python module {module!r} is not installed: {remedy}{other}", setting=setting)


class ProviderCount(PluginError):
    """Exactly one plugin must implement `hook` for the role; these did."""

    def __init__(self, role: str, hook: str, providers: Sequence[str]) -> None:
        self.role = role
        self.hook = hook
        self.providers = tuple(providers)
        super().__init__(
            f"the role {role!r} needs exactly one plugin that implements {hook}, "
            f'found: {", ".join(providers) or "none"}. Name a plugin that does in the settings: {role} = "…"'
        )


class BrokenContract(PluginError):
    """What a plugin's `hook` opened doesn't have what `contract` asks for."""

    def __init__(self, plugin: str, hook: str, contract: str, missing: Sequence[str]) -> None:
        self.plugin = plugin
        self.hook = hook
        self.contract = contract
        self.missing = tuple(missing)
        super().__init__(f"{hook} of plugin {plugin!r} gave no {contract}: it lacks {', '.join(missing)}")


class RequestError(InvokerError):
    """A message was turned away at the door; nothing was accepted and nothing will run."""


class MalformedRequest(RequestError):
    """The body is not an activation message."""


class Busy(RequestError):
    """There is no room now. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"{reason}; try again in {retry_after} s")


class Draining(RequestError):
    """The invoker takes no new work: it finishes what it has, and stops."""

    def __init__(self) -> None:
        super().__init__("this invoker is stopping and takes no new work")


class Undecryptable(InvokerError):
    """A locked parameter can't be opened: no such key, or not an envelope of that key (spec 7)."""

    def __init__(self, parameter: str, reason: str) -> None:
        self.parameter = parameter
        self.reason = reason
        super().__init__(f"parameter {parameter!r}: {reason}")


class StoreError(InvokerError):
    """A store did not do what it was asked."""


class FunctionNotFound(StoreError):
    """There is no such function (any more)."""

    def __init__(self, document_id: str, revision: str | None = None) -> None:
        self.document_id = document_id
        self.revision = revision
        super().__init__(f"no action {document_id!r}" + (f" at revision {revision}" if revision else ""))


class FunctionUnreadable(StoreError):
    """The document is there, but is no function that can run here (spec 6.2.3)."""

    def __init__(self, document_id: str, reason: str, *, executable: bool = True) -> None:
        self.document_id = document_id
        self.reason = reason
        self.executable = executable
        """False for a sequence, which is well formed and still can't run (spec 6.7.8)."""
        super().__init__(f"action {document_id!r}: {reason}")


class StoreUnavailable(StoreError):
    """The store can't be reached or can't answer now; the same call may succeed later."""


class RecordsRefused(StoreError):
    """The store will never take these records. All others of the batch are stored."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        self.refused = dict(refused)
        """Activation id to the store's reason."""
        super().__init__("; ".join(f"{one}: {reason}" for one, reason in self.refused.items()))


class NotSupported(StoreError):
    """The store that the settings name lacks an optional contract."""

    def __init__(self, role: str, plugin: str, contract: str) -> None:
        self.role = role
        self.plugin = plugin
        self.contract = contract
        super().__init__(
            f"the store {plugin!r} (role {role!r}) has no {contract}; "
            f'use the tools of that store, or a store that has it, such as {role} = "sqlite"'
        )


class ContainerError(InvokerError):
    """A container did not do what it was asked."""


class StartFailed(ContainerError):
    """No container was started; nothing is left of the attempt.

    `developer_fault` is True where the function's own image is to blame, such as one that can't be pulled:
    then `public` is the text its developer sees (spec 9.9, T12).
    """

    def __init__(self, reason: str, *, developer_fault: bool = False, public: str | None = None) -> None:
        self.reason = reason
        self.developer_fault = developer_fault
        self.public = public
        super().__init__(reason)


class NoRoom(ContainerError):
    """No container can be started for want of something that others hold, such as addresses or processes.

    Nothing is left of the attempt. The activation waits until one of them has gone, or for a while.
    """


class Unreachable(ContainerError):
    """No byte of the request was sent: it may be sent to another container (spec T54)."""


class Aborted(ContainerError):
    """The container was being initialised for another activation, and that failed: `outcome` is this one's too.

    Spec 10.12.2.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__("the initialisation that this activation waited for failed")


class Lost(ContainerError):
    """The connection broke before a whole reply was read, or memory ran out under it. `state` is the container's then.

    `at` is when that was, in seconds of `time.monotonic`, which was before the state was asked for (spec 9.5.5).
    """

    def __init__(self, state: ContainerState, *, at: float | None = None) -> None:
        self.state = state
        self.at = at
        super().__init__(f"the container gave no reply: {state}")


class PostTimedOut(ContainerError):
    """No whole reply within the time allowed. `seconds` is that time.

    `deaf` is the port that was tried again and again and took no connection in all that time: the action proxy never
    listened. It is `None` for a proxy that was reached.
    """

    def __init__(self, seconds: float, *, deaf: int | None = None) -> None:
        self.seconds = seconds
        self.deaf = deaf
        super().__init__(f"no reply within {seconds:g} s")
