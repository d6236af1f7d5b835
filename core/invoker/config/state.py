"""Where the invoker keeps what must outlive it."""

import os
from pathlib import Path
from typing import Final

from invoker.config.sections import NodeSettings
from invoker.errors import SettingsError

_NAME: Final = "functions-invoker"


def state_dir(node: NodeSettings) -> Path:
    """Return the state directory: `node.state_dir`, or the user's own. It need not exist yet.

    By default it is `functions-invoker` in `$XDG_STATE_HOME`, which is `~/.local/state` where it isn't set; a
    relative one is ignored, as the XDG base directory specification asks.

    Raises:
        SettingsError: nothing is set and the user has no home.
    """
    if node.state_dir is not None:
        return node.state_dir.absolute()
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():
        return given / _NAME
    try:
        return Path.home() / ".local" / "state" / _NAME
    except RuntimeError:  # no HOME, and no user of this number
        raise SettingsError(["node.state_dir: must be given: there is neither XDG_STATE_HOME nor a home"]) from None
