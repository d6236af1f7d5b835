"""A function as its store keeps it. On the wire and on the command line it is called an action."""

from typing import Final

import msgspec

from invoker.entities.runtimes import Runtime

NOTHING = msgspec.Raw(b"[]")


class FunctionRef(msgspec.Struct, frozen=True):
    """Which function a message asks for (spec 1.4)."""

    path: str
    """Real place: `namespace` or `namespace/package`."""
    name: str
    version: str = "0.0.1"
    revision: str | None = None
    """`None` means the newest, whatever it is, and is never served from a cache (spec 6.7.4)."""
    binding: str | None = None
    """The path the caller used, if it went through a package binding (spec 1.4.4)."""

    @property
    def document_id(self) -> str:
        """Id of its document (spec 1.4.5); with a leading slash, the name the function itself sees."""
        return f"{self.path}/{self.name}"


class Limits(msgspec.Struct, frozen=True):
    """An action's limits, in its document's own units, as records repeat them (spec 6.6, 8.2)."""

    timeout: int = 60_000
    """Milliseconds, for `/init` and for `/run` each."""
    memory: int = 256
    """MB, which are MiB (spec T73)."""
    logs: int = 10
    """MB; in `functions` compatibility KB (spec T30)."""
    concurrency: int = 1
    """Activations that one container may serve at the same time."""

    @property
    def timeout_seconds(self) -> float:
        """The timeout in seconds."""
        return self.timeout / 1000

    @property
    def memory_bytes(self) -> int:
        """The memory limit in bytes."""
        return self.memory << 20


_LARGE: Final = 1 << 20
"""Characters: 2 ms of a digest."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function with its code, as a store gives it. Parameters come with each message instead (T36)."""

    path: str
    name: str
    version: str = "0.0.1"
    revision: str | None = None
    kind: str
    """As stored, lower case: may be `<family>:default` or `blackbox`."""
    image: str | None = None
    """The user's own image, for `blackbox`."""
    code: str | None = None
    """As `/init` takes it: text, or standard base64 if `binary`; `None` when the image brings its own."""
    binary: bool = False
    main: str | None = None
    """Entry point; `None` means the proxy's default, `main`."""
    limits: Limits = Limits()
    provide_api_key: bool = True
    """Whether the caller's key is shown to the function (spec 6.9.1)."""
    annotations: msgspec.Raw = NOTHING
    parameters: msgspec.Raw = NOTHING
    """Both as JSON, kept for whoever reads the document back; the invoker itself ignores them."""
    digest: bytes = b""
    """Same digest, same behaviour: hash of all that spec 10.2.1 compares, computed once when it is read."""

    @property
    def document_id(self) -> str:
        """Id of its document: `path/name`."""
        return f"{self.path}/{self.name}"

    @property
    def is_large(self) -> bool:
        """Whether what is done with all of its code takes longer than the event loop may be held."""
        return self.code is not None and len(self.code) > _LARGE


class Executable(msgspec.Struct, frozen=True):
    """A function that can run here: its kind is resolved."""

    function: Function
    runtime: Runtime
