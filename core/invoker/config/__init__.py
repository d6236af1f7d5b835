"""Settings as everybody sees them: frozen structs, one for each section.

Reading them from their sources is `config.layers`' business; whoever only uses them doesn't load Dynaconf for it, which
takes 65 ms.
"""

from invoker.config.explanation import Explained, as_toml, to_jsonable
from invoker.config.secret import Secret
from invoker.config.sections import (
    Compat,
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
    node_of,
)
from invoker.config.settings import CORE, Settings, SettingsSection
from invoker.config.state import state_dir
from invoker.config.template import template
from invoker.config.texts import FILES_VARIABLE, SECRETS_VARIABLE, default_files
from invoker.units import ByteSize, Seconds, SecondsOrZero

__all__ = [
    "CORE",
    "FILES_VARIABLE",
    "SECRETS_VARIABLE",
    "ByteSize",
    "Compat",
    "EncryptionSettings",
    "Explained",
    "FunctionsSettings",
    "IntakeSettings",
    "LimitsSettings",
    "LogsSettings",
    "NodeSettings",
    "PoolSettings",
    "RecordingSettings",
    "RolesSettings",
    "RuntimesSettings",
    "Seconds",
    "SecondsOrZero",
    "Secret",
    "Section",
    "Settings",
    "SettingsSection",
    "ShutdownSettings",
    "TelemetrySettings",
    "as_toml",
    "default_files",
    "node_of",
    "state_dir",
    "template",
    "to_jsonable",
]
