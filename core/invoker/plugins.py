"""Plugins: loaded by name, asked through typed calls. Nobody else touches pluggy."""

import difflib
import inspect
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeVar

import pluggy

from invoker import hookspecs
from invoker.config import LogsSettings, RolesSettings, Settings, SettingsSection
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
from invoker.errors import (
    BrokenContract,
    ModuleMissing,
    PluginBroken,
    PluginError,
    PluginNotInstalled,
    ProviderCount,
)

GROUP = "invoker.plugins"

T = TypeVar("T")

_REQUIREMENT: Final = re.compile(r"([\w.-]+)[^;]*;.*\bextra\s*==\s*['\"]([\w.-]+)['\"]")
"""Distribution and extra, of what `Requires-Dist` says such as `aiodocker>=0.24; extra == 'docker'`."""


def installed() -> dict[str, EntryPoint]:
    """Return every installed plugin by name, without importing any.

    Raises:
        PluginError: two distributions claim one name (pluggy would keep the first in silence).
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"the plugin name {point.name!r} is claimed by {_owner(other)} and by {_owner(point)}: "
                "uninstall one of them"
            )
    return found


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


class Plugins:
    """The plugins that the settings name, and what they provide."""

    def __init__(self, roles: RolesSettings, logs: LogsSettings) -> None:
        self._roles = roles
        self._logs = logs
        self._points = installed()
        self._manager = _manager()
        self._clients: dict[str, object] = {}
        """What the hooks of one plugin share, by plugin, while `clients` is entered."""
        for name in self.active:  # by name: an installed plugin that nobody asked for stays unloaded
            self._load(name)

    @property
    def active(self) -> tuple[str, ...]:
        """The names in use, each once, in the order of the settings."""
        return tuple(self._settings)

    @cached_property
    def _settings(self) -> Mapping[str, str]:
        """The setting that names each plugin in use; the first, if several do."""
        roles = self._roles
        named = (
            *((name, "transports") for name in roles.transports),
            (roles.runtime, "runtime"),
            (self._logs.plugin, "logs"),
            (roles.functions, "functions"),
            (roles.activations, "activations"),
            *((name, "extra") for name in roles.extra),
        )
        found: dict[str, str] = {}
        for name, setting in named:
            found.setdefault(name, setting)
        return found

    def hooks_of(self, name: str) -> tuple[str, ...]:
        """Return the hooks that an active plugin implements."""
        callers = self._manager.get_hookcallers(self._manager.get_plugin(name)) or []
        return tuple(sorted(caller.name for caller in callers))

    def sections(self, also: Sequence[str] = ()) -> Iterator[SettingsSection]:
        """Yield the sections of the active plugins, and of installed ones in `also`, which are imported for it.

        Raises:
            PluginBroken: one of `also` can't be imported, or calls its section by another name than its own.
        """
        for name in dict.fromkeys((*self.active, *also)):
            plugin = self._manager.get_plugin(name) or attempt(self._points[name])
            describe = getattr(plugin, "settings_section", None)
            if describe is None:
                continue
            with self._importing(name):
                section = describe()
            if section.name != name:
                raise PluginBroken(name, f"its settings section is called {section.name!r}; it must be {name!r}")
            yield section

    @asynccontextmanager
    async def clients(self, settings: Settings) -> AsyncIterator[None]:
        """Open what the hooks of each plugin share. What is opened without this has a client of its own."""
        async with AsyncExitStack() as stack:
            stack.callback(self._clients.clear)
            for name in self.active:
                if self._provides(name, "open_client"):
                    self._clients[name] = await stack.enter_async_context(self._own_client(name, settings))
            yield

    def container_runtime(self, settings: Settings) -> Opening[ContainerRuntime]:
        """Open what starts containers."""
        return self._opened("runtime", self._roles.runtime, ContainerRuntime, settings)

    def log_extractor(self, settings: Settings) -> Opening[LogExtractor]:
        """Open what takes the logs."""
        return self._opened("logs", self._logs.plugin, LogExtractor, settings)

    def function_store(self, settings: Settings) -> Opening[FunctionStore]:
        """Open the place where functions come from."""
        return self._opened("functions", self._roles.functions, FunctionStore, settings)

    def activation_store(self, settings: Settings) -> Opening[ActivationStore]:
        """Open the place where records go."""
        return self._opened("activations", self._roles.activations, ActivationStore, settings)

    def transports(
        self, settings: Settings, intake: Intake, operations: Operations
    ) -> Iterator[tuple[str, Opening[Part]]]:
        """Yield each transport's name and opening, in the order of the settings."""
        for name in self._roles.transports:
            yield name, self._opened("transports", name, Part, settings, intake=intake, operations=operations)

    def admissions(self, settings: Settings) -> Iterator[tuple[str, Opening[Admission]]]:
        """Yield the name and opening of every judge of messages that `extra` names."""
        for name in self._extra("open_admission"):
            yield name, self._opened("admissions", name, Admission, settings)

    def observers(self, settings: Settings) -> Iterator[tuple[str, Opening[Observer]]]:
        """Yield the name and opening of every observer that `extra` names."""
        for name in self._extra("open_observer"):
            yield name, self._opened("observers", name, Observer, settings)

    @asynccontextmanager
    async def _opened(
        self, role: str, name: str, contract: type[T], settings: Settings, **arguments: object
    ) -> AsyncIterator[T]:
        """Open what plugin `name` provides for a role, and check that it is what the role's contract asks for."""
        hook = _HOOKS[role]
        call = self._hook_of(name, hook, role)
        async with AsyncExitStack() as stack:
            client = self._clients.get(name)
            if client is None and self._provides(name, "open_client"):
                client = await stack.enter_async_context(self._own_client(name, settings))
            with self._importing(name):  # many import their client library only now
                opened = await stack.enter_async_context(call(settings=settings, client=client, **arguments))
            check_contract(name, hook, contract, opened)
            yield opened

    @asynccontextmanager
    async def _own_client(self, name: str, settings: Settings) -> AsyncIterator[object]:
        async with AsyncExitStack() as stack:
            with self._importing(name):
                opening = self._hook_of(name, "open_client", "client")(settings=settings)
                client = await stack.enter_async_context(opening)
            yield client

    @contextmanager
    def _importing(self, name: str) -> Iterator[None]:
        """Say of an import that fails which plugin wants it.

        Raises:
            PluginBroken: an import failed.
        """
        try:
            yield
        except ImportError as error:
            raise _broken(self._points[name], error, self._settings.get(name)) from error

    def _provides(self, name: str, hook: str) -> bool:
        return name in self._providers(hook)

    def _providers(self, hook: str) -> list[str]:
        """Return the plugins that provide a hook; who wraps it provides nothing."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        return [each.plugin_name for each in implementations if not each.wrapper and not each.hookwrapper]

    def _extra(self, hook: str) -> list[str]:
        return [name for name in self._roles.extra if self._provides(name, hook)]

    def _hook_of(self, name: str, hook: str, role: str) -> Any:
        """Return the hook of plugin `name`, within the wrappers that `extra` names; no other plugin has a say."""
        if not self._provides(name, hook):
            raise ProviderCount(role, hook, [])
        wrappers = set(self._roles.extra) - set(self._providers(hook))
        others = [self._manager.get_plugin(other) for other in self.active if other != name and other not in wrappers]
        return self._manager.subset_hook_caller(hook, others)

    def _load(self, name: str) -> None:
        point = self._points.get(name)
        if point is None:
            close = difflib.get_close_matches(name, self._points, n=1)
            meant = close[0] if close else None
            raise PluginNotInstalled(name, sorted(self._points), setting=self._settings[name], meant=meant)
        _register(self._manager, point, self._settings[name])


_HOOKS: Final = {
    "transports": "open_transport",
    "runtime": "open_container_runtime",
    "logs": "open_log_extractor",
    "functions": "open_function_store",
    "activations": "open_activation_store",
    "admissions": "open_admission",
    "observers": "open_observer",
}


def check_contract(plugin: str, hook: str, contract: type, opened: object) -> None:
    """Check once, at start-up, that what a plugin opened has what its contract asks for.

    Raises:
        BrokenContract: names what is missing.
    """
    members = [name for name, _ in inspect.getmembers_static(contract) if not name.startswith("_")]
    missing = [name for name in members if not hasattr(opened, name)]
    if missing:
        raise BrokenContract(plugin, hook, contract.__name__, missing)


def attempt(point: EntryPoint, setting: str | None = None) -> Any:
    """Import a plugin, which `setting` names.

    Raises:
        PluginBroken: it can't be imported; says why.
    """
    try:
        return point.load()
    except Exception as error:
        raise _broken(point, error, setting) from error


def hooks_in(point: EntryPoint) -> tuple[str, ...]:
    """Return the hooks that a plugin implements, without using it.

    Raises:
        PluginBroken: it can't be imported, or its hooks are wrong.
    """
    manager = _manager()
    plugin = _register(manager, point)
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or []))


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, point: EntryPoint, setting: str | None = None) -> Any:
    """Import a plugin and join it in; a misspelt hook or argument is an error, not silence.

    Raises:
        PluginBroken: says what is wrong.
    """
    plugin = attempt(point, setting)
    try:
        manager.register(plugin, name=point.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginBroken(point.name, " ".join(str(error).split())) from error
    return plugin


def _broken(point: EntryPoint, error: Exception, setting: str | None) -> PluginBroken:
    """Return why a plugin can't be loaded."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return PluginBroken(point.name, f"{type(error).__name__}: {error}", setting=setting)
    return ModuleMissing(point.name, error.name, setting=setting, install=_remedy(point, error.name))


def _remedy(point: EntryPoint, module: str) -> str | None:
    """Return what brings a module: the plugin's distribution with the extra that asks for it, if one does.

    The extra is found by the name of the module, which is mostly that of its distribution, or else by the plugin's.
    """
    if point.dist is None:
        return None
    wanted = _plain(module.partition(".")[0])
    found = [match for match in map(_REQUIREMENT.match, point.dist.requires or ()) if match is not None]
    extras = [match[2] for match in found if _plain(match[1]) == wanted]
    if point.name in extras or (not extras and point.name in (match[2] for match in found)):
        extras = [point.name]
    return f"{point.dist.name}[{extras[0]}]" if extras else None


def _plain(name: str) -> str:
    """Return a name without the differences that don't count in names of distributions."""
    return re.sub(r"[-_.]+", "-", name).lower()
