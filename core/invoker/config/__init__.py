"""Settings: read once in layers, seen as frozen structs."""

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
from invoker.config.settings import Settings, SettingsSection
from invoker.units import ByteSize, Seconds

__all__ = [
    "ByteSize",
    "Compat",
    "EncryptionSettings",
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
    "Secret",
    "Section",
    "Settings",
    "SettingsSection",
    "ShutdownSettings",
    "TelemetrySettings",
    "node_of",
]
