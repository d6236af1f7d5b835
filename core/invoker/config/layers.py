"""The layers of settings: Dynaconf reads them, lays them over one another and remembers who said what.

Nobody else touches it. Each setting is one key of Dynaconf's, its path as a tuple. So none of its ways with names
applies (capitals, dots, one key for `Mine` and `mine`), a later list replaces an earlier one, tables merge since each
of their entries is a key, and the history is exact. `core/decisions` says what else is kept out, and what was measured.
"""

import importlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from dynaconf.base import Settings as Dynaconf
from dynaconf.loaders import default_loader
from dynaconf.loaders.base import BaseLoader, SourceMetadata
from dynaconf.loaders.yaml_loader import yaml
from dynaconf.utils.inspect import get_history

from invoker.config.conversion import Conversion, Explained, Key, Source, printable, top_level
from invoker.config.kinds import DEEPEST, bounded, is_a, masked, toml_in, types_in, values_in
from invoker.config.sections import CORE, LogsSettings, RolesSettings, Settings, SettingsSection
from invoker.errors import PluginBroken, SettingsError

FILES_VARIABLE: Final = "INVOKER_CONFIG"
SECRETS_VARIABLE: Final = "INVOKER_SECRETS"
_INJECTED: Final = re.compile(
    r"INVOKER_(?:SERVICE_|PORT_).*|INVOKER_PORT|"
    r"(?!.*__)INVOKER_[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_.*)?)?)",
    re.DOTALL,
)
"""What Kubernetes sets for Services called `invoker` and `invoker-…`."""
_PARSERS: Final[Mapping[str, Any]] = {"TOML": tomllib.loads, "YAML": yaml.safe_load, "JSON": json.loads}
_FORMATS: Final = {".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}  # any other end of a name is TOML's
_PLACE: Final = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")


class Layers:
    """What all sources say, before it is known which sections there are.

    `roles` says which plugins to load, `tables` which others have settings; then `settings` takes their sections.
    """

    def __init__(self, files: Sequence[Source], texts: Sequence[Source], warnings: Sequence[str]) -> None:
        self.files = tuple(Path(source.name) for source in files)
        """Every file that was read, the secrets file included."""
        self.warnings = tuple(warnings)
        """What works, and should be put right all the same."""
        self._sources = [*files, *texts]
        conversion = self._converted(CORE)
        for number, name in enumerate(conversion.made.get("", RolesSettings()).loaders, start=len(files)):
            try:
                self._sources.insert(number, _fetched(name))
            except Exception as error:  # it is anybody's code
                conversion.blame(f"{name} failed: {type(error).__name__}: {masked(str(error))}", ("loaders",))
                raise SettingsError(conversion.faults) from error

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
            SettingsError: a file can't be read, an override isn't of that form, or a loader fails.
        """
        faults: list[str] = []
        read = [*_from_files([*files, *([secrets] if secrets else [])], faults)]
        texts = [*_from_environment(environ, faults), *_from_command_line(overrides, faults)]
        if faults:
            raise SettingsError(faults)
        why = f"{printable(str(secrets))} holds secrets and every user of this machine can read it"
        loose = secrets is not None and secrets.stat().st_mode & stat.S_IROTH
        return cls(read, texts, [f"{why}: take that right away with chmod o-rwx"] if loose else [])

    def roles(self) -> tuple[RolesSettings, LogsSettings]:
        """Return what says which plugins are used.

        Raises:
            SettingsError: these can't be told; says what is wrong in the core's other sections too.
        """
        conversion = self._converted(CORE)
        if not conversion.made.keys() >= {"", "logs"}:
            raise SettingsError(conversion.faults)
        return conversion.made[""], conversion.made["logs"]

    def tables(self) -> set[str]:
        """Return the names at the top level that aren't the core's: sections of plugins, or slips of the pen."""
        names = {name for source in self._sources for name, *_ in _placed(source, top_level(CORE))}
        return (names | {name.replace("_", "-") for name in names}) - top_level(CORE).keys()

    def settings(self, sections: Iterable[SettingsSection] = ()) -> Settings:
        """Return the core's settings and those of the plugins' `sections`.

        Raises:
            SettingsError: with every fault in them, keys and tables that nothing asks for included.
            PluginBroken: a section has a name that the core uses.
        """
        return Settings(self._checked([*CORE, *sections]).made.values())

    def explain(self, sections: Iterable[SettingsSection] = ()) -> Sequence[Explained]:
        """Return every setting, where it comes from and what that overrode; raise what `settings` raises."""
        return tuple(self._checked([*CORE, *sections]).explained())

    def _checked(self, sections: Sequence[SettingsSection]) -> Conversion:
        for section in sections[len(CORE) :]:
            if section.name in ("", *top_level(CORE)):
                raise PluginBroken(section.name, "the core has settings of this name; the plugin needs another")
        conversion = self._converted(sections)
        conversion.look_across()
        if conversion.faults:
            raise SettingsError(conversion.faults)
        return conversion

    def _converted(self, sections: Sequence[SettingsSection]) -> Conversion:
        """Lay all sources over one another; what is given as text is placed by the types of the sections."""
        dynaconf, top = _dynaconf(), top_level(sections)
        for number, source in enumerate(self._sources):
            said = _placed(source, top)
            above = {key[:depth] for key in said for depth in range(1, len(key))}
            values = {key for key, value in said.items() if value not in (None, {})}
            for key in [key for key in dynaconf.store if isinstance(key, tuple)]:
                if key in said or key in above or any(key[:depth] in values for depth in range(1, len(key))):
                    dynaconf.store.pop(key)  # where nothing is, Dynaconf neither merges nor joins
            dynaconf.update(said, loader_identifier=SourceMetadata(source.kind, source.name, str(number)))
        tree: dict[str, Any] = {}
        for key, value in dynaconf.as_dict().items():
            if isinstance(key, tuple):
                table = tree
                for name in key[:-1]:
                    table = table.setdefault(name, {})
                if not isinstance(table.get(key[-1]), dict):  # an empty table takes nothing away
                    table[key[-1]] = value
        entries = get_history(dynaconf, filter_callable=lambda source: source.env.isdigit())
        history = [Source(entry["loader"], entry["identifier"], entry["value"]) for entry in entries]
        return Conversion(tree, history, sections)


def _dynaconf() -> Any:
    """Return an empty Dynaconf. Made from the class behind `Dynaconf`, which reads variables and `.env` by itself."""
    return Dynaconf(
        AUTO_CAST_FOR_DYNACONF=False,  # first: it governs how the others are read
        DYNABOXIFY=False,
        ENVIRONMENTS_FOR_DYNACONF=False,
        MAIN_ENV_FOR_DYNACONF="main",
        ENVVAR_PREFIX_FOR_DYNACONF="INVOKER",
        dynaconf_skip_loaders=True,
        dynaconf_skip_validators=True,
    )


def _placed(source: Source, top: Mapping[str, Any]) -> dict[Key, Any]:
    """Return what a source says by the names of sections and fields; where a table is asked for, text is TOML."""
    folded = source.kind in ("environment", "loader")  # where names may be in capitals, and have no hyphens
    found: dict[Key, Any] = {}
    for written, value in source.said.items():
        key: Key = ()
        kind: Any = None
        for part in written:
            inner, known, name = values_in(kind), types_in(kind) if key else top, part
            if folded and inner is None:
                name = next((each for each in known if each.replace("-", "_") == part.lower()), part.lower())
            key, kind = (*key, name), known.get(name) if inner is None else inner
        asked = source.kind != "file" and isinstance(value, str) and is_a(kind, msgspec.Struct, Mapping)
        table = toml_in(value) if asked else None
        said = table if isinstance(table, dict) else value
        if key == ("logs",) and not isinstance(said, dict | None):
            key = ("logs", "plugin")  # `logs = "attached"` is short for it
        found.update(_leaves({key[-1]: said}, *key[:-1]))
    return found


def _leaves(table: Mapping[str, Any], *key: str) -> Iterator[tuple[Key, Any]]:
    """Yield what is in a table and in those in it, value by value; an empty one is a value."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, *key, str(name))
        else:
            yield (*key, str(name)), value


def _fetched(name: str) -> Source:
    """Run an operator's loader, on a Dynaconf of its own."""
    dynaconf = _dynaconf()
    default_loader(dynaconf)  # its options, such as VAULT_URL_FOR_DYNACONF
    dynaconf.AUTO_CAST_FOR_DYNACONF = False
    before = set(dynaconf.store)
    importlib.import_module(name).load(dynaconf, "MAIN", silent=False, key=None)
    brought = {key: value for key, value in dynaconf.as_dict().items() if key not in before}
    return Source("loader", name, dict(_leaves(bounded(brought))))


def _from_files(files: Sequence[Path], faults: list[str]) -> Iterator[Source]:
    """Let Dynaconf read files; one that can't be used doesn't hide what is wrong with the next."""
    for file in files:
        form = _FORMATS.get(file.suffix.lower(), "TOML")
        try:
            file.open().close()  # Dynaconf only warns of one that it can't open
            reader = BaseLoader(
                _dynaconf(), None, form, "", lambda opened, parse=_PARSERS[form]: parse(opened.read()), None
            )
            table = bounded(reader.get_source_data([str(file)]).get(str(file), {}))
            if not isinstance(table, dict):
                raise ValueError("there are no names in it")  # noqa: TRY004, TRY301 (the file is told of with others)
            yield Source("file", str(file), dict(_leaves(table)))
        except (OSError, ValueError, RecursionError, yaml.error.YAMLError, yaml.error.YAMLFutureWarning) as error:
            faults.append(printable(str(file)) + _complaint(form, error))


def _complaint(form: str, error: Exception) -> str:
    """Return what follows the name of a file that can't be read."""
    match error:
        case FileNotFoundError():
            return ": there is no such file; name one that is there, or write a new one with 'invoker config init'"
        case IsADirectoryError():
            return ": this is a directory; name the file in it"
        case PermissionError():
            return f": not readable for user {os.geteuid()}; give it that right"
        case OSError():
            return f": can't be read: {error}; name another file"
        case UnicodeDecodeError():
            line = error.object.count(b"\n", 0, error.start) + 1
            return f", line {line}: not UTF-8; save the file in that encoding"
        case RecursionError():
            return ": nested too deep; no setting needs that"
    reason = str(error)
    if mark := getattr(error, "problem_mark", None):  # of YAML, which quotes what it stumbled over: maybe a password
        reason = re.split("['\"]", str(getattr(error, "problem", "")))[0].strip()
        reason = f"{reason} (at line {mark.line + 1}, column {mark.column + 1})"
    place = _PLACE.search(reason)
    hint = ", where text stands in quotes" if place and form == "TOML" else ""
    return f"{f', {place[1]}' if place else ''}: {_PLACE.sub('', reason)}; the file must be {form}{hint}"


def _from_environment(environ: Mapping[str, str], faults: list[str]) -> Iterator[Source]:
    """Yield what `INVOKER_SECTION__FIELD` variables say, tables before what is in them."""
    for name in sorted(environ, key=lambda name: (name.count("__"), name)):
        if not name.startswith("INVOKER_") or name in (FILES_VARIABLE, SECRETS_VARIABLE) or _INJECTED.fullmatch(name):
            continue
        key = tuple(name.removeprefix("INVOKER_").split("__"))
        if len(key) > DEEPEST:
            faults.append(f"{printable(name)}: nested more than {DEEPEST} levels deep; no setting is")
        yield Source("environment", name, {key: environ[name]})


def _from_command_line(overrides: Sequence[str], faults: list[str]) -> Iterator[Source]:
    """Yield what `section.field=value` arguments say: the key is TOML's, the value all that follows the first `=`."""
    for number, override in enumerate(overrides, start=1):
        written, equals, text = override.partition("=")
        table = toml_in(f"{{ {written} = 0 }}")
        if equals and isinstance(table, dict) and len(said := dict(_leaves(table))) == 1:
            yield Source("command line", "", dict.fromkeys(said, text))
        else:  # what was written isn't repeated: it may be a password
            faults.append(f"the command line: setting number {number} is not of the form section.field=value")
