"""Every place where a plugin joins in. Hooks build things; they never do the work.

An `open_*` hook is called once, at start-up, and returns an async context manager: entering it makes the object
ready, leaving it gives everything back. `app` says in which order. Seconds are floats, sizes are bytes. A hook
implementation names the arguments it wants and leaves the others out.

Only the hook is used for whose role the settings name the plugin; `extra` names observers, judges and wrappers. To
change what another plugin does, such as encrypting what a store keeps, implement its hook with
`hookimpl(wrapper=True)`, name your plugin in `extra`, and return something that opens the other's object inside your
own. `client` is the wrapped plugin's then.
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
    Observer,
    Opening,
    Operations,
    Part,
)

PROJECT = "invoker"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def settings_section() -> SettingsSection:  # type: ignore[empty-body]
    """Describe the plugin's section of the settings. Once for each plugin, before anything opens.

    The section is named like the plugin: `[sqlite]` for the entry point `sqlite`. A plugin without settings leaves
    this hook out.
    """


@hookspec(firstresult=True)
def open_client(settings: Settings) -> Opening[object]:  # type: ignore[empty-body]
    """Provide what the other hooks of this plugin share, such as a connection pool. For plugins with several roles.

    Opened before them and left after them; each is given what this yields as `client`, `None` without this hook.
    """


@hookspec(firstresult=True)
def open_transport(  # type: ignore[empty-body]
    settings: Settings, client: object, intake: Intake, operations: Operations
) -> Opening[Part]:
    """Bring messages in. One or more plugins, named in `transports`.

    Entered last, so that work arrives when all else is ready; left when all that was handed to `intake` has been
    answered, all transports at the same time. Until then, while the invoker drains, `intake` refuses new messages.
    `operations` is for transports that serve operators too.

    Raises:
        SettingsError: a value is well-formed but of no use, such as an unreadable key file.
        OSError: on entering, when an address can't be bound.
    """


@hookspec(firstresult=True)
def open_container_runtime(settings: Settings, client: object) -> Opening[ContainerRuntime]:  # type: ignore[empty-body]
    """Provide what starts containers. Exactly one plugin, named in `runtime`.

    Entering changes nothing that is there; leaving removes every container that it has started.
    """


@hookspec(firstresult=True)
def open_log_extractor(settings: Settings, client: object) -> Opening[LogExtractor]:  # type: ignore[empty-body]
    """Provide what turns containers' output into activations' logs. Exactly one plugin, named in `logs`."""


@hookspec(firstresult=True)
def open_function_store(settings: Settings, client: object) -> Opening[FunctionStore]:  # type: ignore[empty-body]
    """Provide the place where functions come from. Exactly one plugin, named in `functions`.

    A store that has a `catalog` can be written by the command line.

    Raises:
        StoreUnavailable: on entering, when the store can't be used at all; a server that is merely down is no reason.
    """


@hookspec(firstresult=True)
def open_activation_store(settings: Settings, client: object) -> Opening[ActivationStore]:  # type: ignore[empty-body]
    """Provide the place where activation records are kept. Exactly one plugin, named in `activations`.

    The store is given batches of at most `recording.batch_size` records, never two at a time. One that has a `reader`
    can be read by the command line.

    Raises:
        StoreUnavailable: on entering, when the store can't be used at all; a server that is merely down is no reason.
    """


@hookspec(firstresult=True)
def open_admission(settings: Settings, client: object) -> Opening[Admission]:  # type: ignore[empty-body]
    """Provide a judge of messages, such as a list of blocked namespaces. Any number of plugins, named in `extra`."""


@hookspec(firstresult=True)
def open_observer(settings: Settings, client: object) -> Opening[Observer]:  # type: ignore[empty-body]
    """Provide what sees each activation as it ends. Any number of plugins, named in `extra`."""
