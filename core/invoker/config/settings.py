"""Settings as everybody but the loader sees them: one frozen struct for each section."""

from collections.abc import Iterable
from typing import Any, Self, TypeVar

import msgspec

from invoker.config.sections import Section

S = TypeVar("S", bound=Section)


class SettingsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin says about its section."""

    name: str
    """Like the plugin's entry point: `sqlite` for `[sqlite]`."""
    into: type[Section]
    rules: tuple[Any, ...] = ()
    """Dynaconf validators, for what one section can't know of another."""


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
