"""Settings as everybody but the loader sees them: one frozen struct for each section."""

from collections.abc import Iterable
from typing import Any, Final, Self, TypeVar

import msgspec

from invoker.config.sections import (
    EncryptionSettings,
    FunctionsSettings,
    IntakeSettings,
    LimitsSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RecordingSettings,
    RolesSettings,
    RuntimesSettings,
    Section,
    ShutdownSettings,
    TelemetrySettings,
)

S = TypeVar("S", bound=Section)


class SettingsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin says about its section."""

    name: str
    """Like the plugin's entry point: `sqlite` for `[sqlite]`."""
    into: type[Section]
    rules: tuple[Any, ...] = ()
    """Dynaconf validators (`invoker.config.merging.Validator`), for what one section can't know of another.

    They see the settings as they are in the end: `Validator("recording.flush_interval", lte=60)`. What isn't set
    doesn't exist. They only judge: a `default` or a `cast` changes nothing.
    """


CORE: Final = (
    SettingsSection(name="", into=RolesSettings),
    SettingsSection(name="logs", into=LogsSettings),
    SettingsSection(name="node", into=NodeSettings),
    SettingsSection(name="pool", into=PoolSettings),
    SettingsSection(name="intake", into=IntakeSettings),
    SettingsSection(name="limits", into=LimitsSettings),
    SettingsSection(name="cache", into=FunctionsSettings),  # `functions` is a role
    SettingsSection(name="recording", into=RecordingSettings),
    SettingsSection(name="shutdown", into=ShutdownSettings),
    SettingsSection(name="encryption", into=EncryptionSettings),
    SettingsSection(name="runtimes", into=RuntimesSettings),
    SettingsSection(name="telemetry", into=TelemetrySettings),
)
"""The core's sections, in the order in which they are shown; the first has no name and is the top level."""


class Settings:
    """The sections, by type: `settings[PoolSettings].memory`."""

    def __init__(self, sections: Iterable[Section]) -> None:
        self._sections = {type(section): section for section in sections}

    @classmethod
    def of(cls, *sections: Section) -> Self:
        """Build settings in a program or a test: these sections, all others at their defaults."""
        return cls(sections)

    def __getitem__(self, section: type[S]) -> S:
        """Return a section; one that was not given has its defaults."""
        found = self._sections.get(section)
        if found is None:
            found = self._sections[section] = section()
        assert isinstance(found, section)  # noqa: S101 (keyed by its own type)
        return found
