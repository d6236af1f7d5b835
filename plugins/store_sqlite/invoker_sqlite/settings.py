"""The `[sqlite]` section."""

from pathlib import Path

from invoker.config import ByteSize, NodeSettings, Seconds, SecondsOrZero, Section, Settings, SettingsSection, state_dir

FILE = "invoker.sqlite3"


class KeepSettings(Section, frozen=True, kw_only=True):
    """Which activation records are kept; the oldest go first. Actions are always kept."""

    age: SecondsOrZero = SecondsOrZero(7 * 86400)
    """How long a record is kept after it was stored; 0: for ever."""
    bytes: ByteSize = ByteSize(256 << 20)
    """How much of the file all records may take; 0: no bound."""


class SqliteSettings(Section, frozen=True, kw_only=True):
    """Where the file is and how much it holds."""

    path: Path | None = None
    """The file, on a local disk; by default invoker.sqlite3 in the state directory."""
    keep: KeepSettings = KeepSettings()
    """Which activation records are kept."""
    busy_timeout: Seconds = Seconds(5)
    """How long a write waits for another process that is writing."""


SECTION = SettingsSection(name="sqlite", into=SqliteSettings)


def path_of(settings: Settings) -> Path:
    """Return the file that the settings mean.

    Raises:
        SettingsError: neither it nor a state directory is named, and the user has no home.
    """
    path = settings[SqliteSettings].path
    return state_dir(settings[NodeSettings]) / FILE if path is None else path.absolute()
