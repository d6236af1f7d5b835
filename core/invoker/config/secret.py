"""Values that must not be shown."""

from typing import Final

SHOWN: Final = "***"


class Secret:
    """A password or a key: shows as `***` in reprs, logs, tracebacks and every output of the command line."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call it where it is used, and keep what it returns nowhere."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({SHOWN})"

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, format_spec: str) -> str:
        return format(SHOWN, format_spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)
