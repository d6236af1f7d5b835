"""Plugins that can't be imported: which module is missing, and what would bring it."""

import re
from importlib.metadata import EntryPoint
from typing import Final

from invoker.errors import ModuleMissing, PluginBroken

_REQUIREMENT: Final = re.compile(r"([\w.-]+)[^;]*;.*\bextra\s*==\s*['\"]([\w.-]+)['\"]")
"""Distribution and extra, of what `Requires-Dist` says such as `aiodocker>=0.24; extra == 'docker'`."""


def broken(point: EntryPoint, error: Exception, setting: str | None) -> PluginBroken:
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
