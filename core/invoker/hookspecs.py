"""Every place where a plugin joins in. Hooks build things; they never do the work.

An `open_*` hook is called once, at start-up, and returns an async context manager: entering it makes the object
ready, leaving it gives everything back. `app` says in which order. Seconds are floats, sizes are bytes.

To change what another plugin does, such as encrypting what a store keeps, implement its hook with
`hookimpl(wrapper=True)`, name your plugin in `extra`, and return something that opens the other's object inside
your own.
"""

import pluggy

from invoker.config import Settings, SettingsSection
from invoker.contracts import (
    ActivationStore,
    Admission,
    ContainerRuntime,
    FunctionStore,
    Intake,
    LogExtractor,
    Opening,
    Operations,
)
from invoker.entities.activation import Activation

PROJECT = "invoker"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def settings_section() -> SettingsSection:  # type: ignore[empty-body]
    """Describe the plugin's section of the settings. Once for each plugin, before anything opens.

    The section is named like the plugin: `[sqlite]` for the entry point `sqlite`. A plugin without settings leaves
    this hook out.
    """


@hookspec
def open_transport(settings: Settings, intake: Intake, operations: Operations) -> Opening[object]:  # type: ignore[empty-body]
    """Bring messages in. One or more plugins, named in `transports`.

    Entered last, so that work arrives when all else is ready; left first: then it takes no new message and returns
    when those it handed to `intake` have ended. `operations` is for transports that serve operators too; what such a
    one yields may be an `OperatorDoor`, which says where. Whatever else it yields means nothing.

    Raises:
        SettingsError: a value is well-formed but of no use, such as an unreadable key file.
        OSError: on entering, when an address can't be bound.
    """


@hookspec(firstresult=True)
def open_container_runtime(settings: Settings) -> Opening[ContainerRuntime]:  # type: ignore[empty-body]
    """Provide what starts containers. Exactly one plugin, named in `runtime`.

    Entering removes what an earlier life of this invoker left behind; leaving removes every container.
    """


@hookspec(firstresult=True)
def open_log_extractor(settings: Settings) -> Opening[LogExtractor]:  # type: ignore[empty-body]
    """Provide what turns containers' output into activations' logs. Exactly one plugin, named in `logs`."""


@hookspec(firstresult=True)
def open_function_store(settings: Settings) -> Opening[FunctionStore]:  # type: ignore[empty-body]
    """Provide the place where functions come from. Exactly one plugin, named in `functions`.

    What it yields may also be a `FunctionCatalog`; then the command line can write it.

    Raises:
        StoreUnavailable: on entering, when the store can't be used at all; a server that is merely down is no reason.
    """


@hookspec(firstresult=True)
def open_activation_store(settings: Settings) -> Opening[ActivationStore]:  # type: ignore[empty-body]
    """Provide the place where activation records are kept. Exactly one plugin, named in `activations`.

    The store is given batches of at most `recording.batch_size` records, never two at a time. What it yields may
    also be an `ActivationReader`; then the command line can read it.

    Raises:
        StoreUnavailable: on entering, when the store can't be used at all; a server that is merely down is no reason.
    """


@hookspec
def open_admission(settings: Settings) -> Opening[Admission]:  # type: ignore[empty-body]
    """Provide a judge of messages, such as a list of blocked namespaces. Any number of plugins, named in `extra`."""


@hookspec
def activation_finished(activation: Activation) -> None:
    """See each activation as it ends. Any number of plugins; the only hook on the hot path.

    Called on the event loop: return within 100 µs, don't block. What you raise is logged and goes no further.
    """
