"""The layers of settings: defaults, files, the secrets file, the environment, the command line; the last one wins."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from invoker.config import merging
from invoker.config.conversion import Conversion, catalogue
from invoker.config.explanation import Explained, explained
from invoker.config.files import read_files
from invoker.config.layer import Layer, Tree
from invoker.config.sections import LimitsSettings, LogsSettings, PoolSettings, RolesSettings, Section
from invoker.config.settings import CORE, Settings, SettingsSection
from invoker.config.spelling import masked, printable
from invoker.config.texts import Kinds, Text, from_command_line, from_environment, placed, shortened, tables
from invoker.errors import PluginBroken, SettingsError
from invoker.units import ByteSize

_CORE_NAMES: Final = frozenset(section.name for section in CORE) | {
    field.encode_name for field in msgspec.structs.fields(RolesSettings)
}


class Layers:
    """What all sources say, before it is known which sections there are.

    `roles` says which plugins to load, `tables` which others have settings; then `settings` takes their sections.
    """

    def __init__(self, files: Sequence[Layer], texts: Sequence[Text], *, warnings: Sequence[str] = ()) -> None:
        self._files = tuple(shortened(layer) for layer in files)
        self._texts = tuple(texts)
        self.files: tuple[Path, ...] = tuple(Path(layer.origin.name) for layer in files)
        """Every file that was read, the secrets file included."""
        self.warnings = tuple(warnings)
        """What works, and should be put right all the same."""

    @classmethod
    def read(
        cls,
        files: Sequence[Path],
        *,
        secrets: Path | None = None,
        environ: Mapping[str, str],
        overrides: Sequence[str] = (),
    ) -> Self:
        """Read every source. `overrides` are the command line's `section.field=value`.

        Raises:
            SettingsError: a file can't be read or isn't TOML, or an override isn't of that form.
        """
        read = read_files(files, secrets)
        variables, unfit_variables = from_environment(environ)
        arguments, unfit_arguments = from_command_line(overrides)
        faults = [*read.faults, *unfit_variables, *unfit_arguments]
        if faults:
            raise SettingsError(faults)
        return cls(read.layers, [*variables, *arguments], warnings=read.warnings)

    def roles(self) -> tuple[RolesSettings, LogsSettings]:
        """Return what says which plugins are used.

        Raises:
            SettingsError: these can't be told; says what is wrong in the core's other sections too.
        """
        reading = _Reading(self._layers(CORE), CORE)
        roles, logs = reading.sections[0], reading.sections[1]
        if not isinstance(roles, RolesSettings) or not isinstance(logs, LogsSettings):
            raise SettingsError(reading.conversion.faults)
        return roles, logs

    def tables(self) -> set[str]:
        """Return the names of all tables that aren't the core's: sections of plugins, or slips of the pen."""
        found = {name for layer in self._files for name, node in layer.tree.items() if isinstance(node, dict)}
        found.update(name for text in self._texts for name in tables(text))
        return found - _CORE_NAMES

    def settings(self, sections: Iterable[SettingsSection] = ()) -> Settings:
        """Return the core's settings and those of the plugins' `sections`.

        Raises:
            SettingsError: with every fault in them, keys and tables that nothing asks for included.
            PluginBroken: a section has a name that the core uses, or a rule of one fails by itself.
        """
        return self._read(sections)[0]

    def explain(self, sections: Iterable[SettingsSection] = ()) -> Sequence[Explained]:
        """Return every setting with its value, and the place that made it what it is.

        Raises:
            SettingsError: as `settings`.
            PluginBroken: as `settings`.
        """
        settings, reading = self._read(sections)
        return explained(settings, reading.described, reading.layers)

    def _read(self, sections: Iterable[SettingsSection]) -> tuple[Settings, "_Reading"]:
        described = (*CORE, *sections)
        for section in described[len(CORE) :]:
            if section.name in _CORE_NAMES:
                raise PluginBroken(section.name, "the core has settings of this name; the plugin needs another")
        reading = _Reading(self._layers(described), described)
        reading.look_for_strangers()
        reading.ask_the_rules()
        reading.look_across()
        if reading.conversion.faults:
            raise SettingsError(reading.conversion.faults)
        return Settings(section for section in reading.sections if section is not None), reading

    def _layers(self, described: Sequence[SettingsSection]) -> list[Layer]:
        """Return all layers as trees, which takes the types of what was given as text."""
        kinds: Kinds = {field.encode_name: field.type for field in msgspec.structs.fields(RolesSettings)} | {
            section.name: section.into for section in described if section.name
        }
        return [*self._files, *(placed(text, kinds) for text in self._texts)]


class _Reading:
    """The layers laid over one another and converted, as far as they can be."""

    def __init__(self, layers: Sequence[Layer], described: Sequence[SettingsSection]) -> None:
        self.layers = layers
        self.described = described
        self._tree: Tree = merging.merged(layer.tree for layer in layers)
        known = catalogue({section.name: section.into for section in described})
        self.conversion = Conversion(layers, known)
        self.sections: list[Section | None] = [self._section(section) for section in described]

    def _section(self, section: SettingsSection) -> Section | None:
        if section.name:
            node = self._tree.get(section.name, {})
        else:
            fields = {field.encode_name for field in msgspec.structs.fields(section.into)}
            node = {name: self._tree[name] for name in self._tree if name in fields}
        return self.conversion.section(section.name, section.into, node)

    def look_for_strangers(self) -> None:
        """Note what is at the top level and nobody's."""
        names = (_CORE_NAMES | {section.name for section in self.described}) - {""}
        for name, node in self._tree.items():
            if name not in names:
                what = "such section, in the core or in a plugin" if isinstance(node, dict) else "such setting"
                self.conversion.unknown((name,), what)

    def ask_the_rules(self) -> None:
        """Note what rules have against the settings. A rule about a setting with a fault of its own isn't asked."""
        values = {name: _plain(value) for name, value in self.conversion.values.items() if value is not None}
        broken = {".".join(key) for key in self.conversion.broken}
        for section in self.described:
            for rule in section.rules:
                if not any(_covers(fault, name) for fault in broken for name in merging.names(rule)):
                    self._ask(section, rule, values)

    def look_across(self) -> None:
        """Note what the core's sections can't know of each other."""
        parts = {type(section): section for section in self.sections if section is not None}
        pool, limits = parts.get(PoolSettings), parts.get(LimitsSettings)
        if not isinstance(pool, PoolSettings) or not isinstance(limits, LimitsSettings):
            return  # which has a fault of its own
        least = ByteSize(limits.min_memory << 20)
        if pool.memory < least:
            self.conversion.blame_all(
                [("pool", "memory"), ("limits", "min_memory")],
                f"{pool.memory} has no room for a single container: limits.min_memory is {least}; "
                f"set pool.memory to {least} or more, or limits.min_memory to less",
            )

    def _ask(self, section: SettingsSection, rule: merging.Rule, values: Mapping[str, Any]) -> None:
        names = sorted(merging.names(rule))
        try:
            failure = merging.failure(rule, values)
        except Exception as error:  # a rule may run any code of the plugin's
            about = printable(", ".join(names))
            raise PluginBroken(section.name, f"its rule about {about} failed: {type(error).__name__}") from error
        if failure is not None:
            keys = [tuple(name.split(".")) for name in names]
            self.conversion.blame_rule(section.name, keys, masked(failure))


def _covers(fault: str, name: str) -> bool:
    """Return whether a fault is about a setting, or about something it is in."""
    return name == fault or name.startswith(f"{fault}.") or fault.startswith(f"{name}.")


def _plain(value: Any) -> Any:
    """Return sections as dictionaries, and leave out what isn't set: for a rule it doesn't exist."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if each is not None}
    return value
