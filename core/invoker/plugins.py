"""Plugins: loaded by name, asked through typed calls. Nobody else touches pluggy."""

import difflib
import inspect
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

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
    Opening,
    Operations,
)
from invoker.entities.activation import Activation
from invoker.errors import BrokenContract, PluginBroken, PluginError, PluginNotInstalled, ProviderCount
from invoker.missing import broken

GROUP = "invoker.plugins"

T = TypeVar("T")


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
    """The plugins that the roles name, and what they provide."""

    def __init__(self, roles: RolesSettings, logs: LogsSettings) -> None:
        self._roles = roles
        self._logs = logs
        self._points = installed()
        self._manager = _manager()
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

    @property
    def has_observers(self) -> bool:
        """Whether anybody wants to see activations as they end."""
        return bool(self._manager.hook.activation_finished.get_hookimpls())

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
            with self._telling(name):
                section = describe()
            if section.name != name:
                raise PluginBroken(name, f"its settings section is called {section.name!r}; it must be {name!r}")
            yield section

    @asynccontextmanager
    async def container_runtime(self, settings: Settings) -> AsyncIterator[ContainerRuntime]:
        """Open what starts containers."""
        async with self._one("runtime", self._roles.runtime, ContainerRuntime, settings) as runtime:
            yield runtime

    @asynccontextmanager
    async def log_extractor(self, settings: Settings) -> AsyncIterator[LogExtractor]:
        """Open what takes the logs."""
        async with self._one("logs", self._logs.plugin, LogExtractor, settings) as extractor:
            yield extractor

    @asynccontextmanager
    async def function_store(self, settings: Settings) -> AsyncIterator[FunctionStore]:
        """Open the place where functions come from."""
        async with self._one("functions", self._roles.functions, FunctionStore, settings) as store:
            yield store

    @asynccontextmanager
    async def activation_store(self, settings: Settings) -> AsyncIterator[ActivationStore]:
        """Open the place where records go."""
        async with self._one("activations", self._roles.activations, ActivationStore, settings) as store:
            yield store

    def transports(
        self, settings: Settings, intake: Intake, operations: Operations
    ) -> Iterator[tuple[str, Opening[object]]]:
        """Yield each transport's name and opening, in the order of the settings."""
        for name in self._roles.transports:
            call = self._hook_of(name, "open_transport", "transports")
            with self._telling(name):
                opening = call(settings=settings, intake=intake, operations=operations)[0]
            yield name, self._entered(name, opening)

    def admissions(self, settings: Settings) -> Iterator[tuple[str, Opening[Admission]]]:
        """Yield the name and opening of every judge of messages."""
        for implementation in self._manager.hook.open_admission.get_hookimpls():
            name = implementation.plugin_name
            with self._telling(name):
                opening = self._hook_of(name, "open_admission", "extra")(settings=settings)[0]
            yield name, self._entered(name, opening)

    def activation_finished(self, activation: Activation) -> None:
        """Show an activation to every observer. What one raises is the caller's to log."""
        self._manager.hook.activation_finished(activation=activation)

    @asynccontextmanager
    async def _one(self, role: str, name: str, contract: type[T], settings: Settings) -> AsyncIterator[T]:
        hook = _HOOKS[role]
        call = self._hook_of(name, hook, role)
        with self._telling(name):
            opening = call(settings=settings)
        async with self._entered(name, opening) as opened:
            check_contract(name, hook, contract, opened)
            yield opened

    @asynccontextmanager
    async def _entered(self, name: str, opening: Opening[T]) -> AsyncIterator[T]:
        """Enter what plugin `name` opens; many import their client library only now."""
        async with AsyncExitStack() as stack:
            with self._telling(name):
                opened = await stack.enter_async_context(opening)
            yield opened

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Say of an import that fails which plugin wants it.

        Raises:
            PluginBroken: an import failed.
        """
        try:
            yield
        except ImportError as error:
            raise broken(self._points[name], error, self._settings.get(name)) from error

    def _hook_of(self, name: str, hook: str, role: str) -> Any:
        """Return the hook restricted to plugin `name` and all wrappers; exactly `name` must provide it."""
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        providers = [each.plugin_name for each in implementations if not each.wrapper and not each.hookwrapper]
        if name not in providers:
            raise ProviderCount(role, hook, [])
        others = [self._manager.get_plugin(provider) for provider in providers if provider != name]
        return self._manager.subset_hook_caller(hook, others)

    def _load(self, name: str) -> None:
        point = self._points.get(name)
        if point is None:
            close = difflib.get_close_matches(name, self._points, n=1)
            meant = close[0] if close else None
            raise PluginNotInstalled(name, sorted(self._points), setting=self._settings[name], meant=meant)
        _register(self._manager, point, self._settings[name])


_HOOKS = {
    "runtime": "open_container_runtime",
    "logs": "open_log_extractor",
    "functions": "open_function_store",
    "activations": "open_activation_store",
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
        raise broken(point, error, setting) from error


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
