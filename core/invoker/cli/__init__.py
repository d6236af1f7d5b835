"""The command line: `invoker …`. Each module is a command or a family of commands."""

from invoker.cli.entry import main

__all__ = ["main"]
