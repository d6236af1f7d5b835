"""This invoker, as controllers know it."""

import msgspec


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """The identity that acknowledgements and pings carry (spec 2.6)."""

    id: int
    """Index into the controller's table of invokers (spec T13, T16)."""
    memory: int
    """Bytes for functions: the `userMemory` that controllers plan with."""
    unique_name: str | None = None
    displayed_name: str | None = None
    tags: tuple[str, ...] = ()
    dedicated_namespaces: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the form of logs and HTTP replies (spec 2.6.2): `invoker3/node-b`."""
        return "/".join(filter(None, (f"invoker{self.id}", self.unique_name, self.displayed_name)))
