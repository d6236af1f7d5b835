"""functions-invoker: the per-node invoker of a serverless platform.

This module is what plugin authors import.
"""

from invoker.config import Section, Settings, SettingsSection
from invoker.hookspecs import hookimpl

__all__ = ["Section", "Settings", "SettingsSection", "hookimpl"]
