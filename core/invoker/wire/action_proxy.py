"""The protocol of action proxies: bodies of `/init` and `/run`, and how replies are read (spec 9.2-9.7)."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from invoker.config import Compat
from invoker.entities.container import Body
from invoker.entities.function import Function
from invoker.entities.request import Request
from invoker.wire import raw
from invoker.wire.raw import NotJSON

Parameters: TypeAlias = Mapping[str, msgspec.Raw]
"""Arguments by name, each as JSON. Secrets: never log them."""

PIECE: Final = 1 << 20
"""Characters of code that are encoded in one go: a millisecond in which no other thread runs."""

_encode: Final = msgspec.json.Encoder().encode

# --- arguments -------------------------------------------------------------------------------------------------

_NONE: Final[Parameters] = MappingProxyType({})
_EMPTY: Final = msgspec.Raw(b"{}")


class Arguments(NamedTuple):
    """The arguments of a message, parted."""

    parameters: Parameters
    """For the environment, at `/init`."""
    value: msgspec.Raw
    """For `/run`."""


def split(content: msgspec.Raw | None, init_names: Sequence[str]) -> Arguments:
    """Part the arguments of a message into those for the environment and the value for `/run` (spec 7.2.2).

    An array is all value (1.7.2); without content the value is `{}` (1.9.3). Nothing is copied without `init_names`.
    """
    if content is None:
        return Arguments(_NONE, _EMPTY)
    if not init_names or not raw.is_object(content):
        return Arguments(_NONE, content)
    value = raw.members(content)
    parameters = {name: value.pop(name) for name in init_names if name in value}
    return Arguments(parameters, raw.joined(value))


# --- what is sent ----------------------------------------------------------------------------------------------


def environment(request: Request, function: Function, init_parameters: Parameters, *, deadline: int) -> dict[str, str]:
    """Return the environment that `/init` sets up: init parameters, overlaid by `__OW_*` (spec 9.2.2, 9.2.3).

    `deadline` is in Unix milliseconds. The platform's address is not among them: the container has it (9.2.5).
    """
    variables = {name: _text(value) for name, value in init_parameters.items()}
    for context in (_key(request, function), _context(request, deadline)):
        variables.update((f"__OW_{name.upper()}", text) for name, text in context.items())
    return variables


def init_body(function: Function, environment: Mapping[str, str]) -> Body:
    """Return the body of `/init` (spec 9.2.1). Long code is added piece by piece, so that other threads get a turn."""
    main = function.main or "main"
    value = _json({"name": function.name, "main": main, "binary": function.binary, "env": environment})
    code = function.code
    if code is None:
        return b'{"value":%b}' % value
    body = bytearray(b'{"value":%b,"code":"' % value[:-1])
    for start in range(0, len(code), PIECE):
        body += _json(code[start : start + PIECE])[1:-1]
    body += b'"}}'
    return body


def run_body(request: Request, value: msgspec.Raw, function: Function, *, deadline: int) -> bytes:
    """Return the body of `/run`: `value` as it is, beside a context of which everything is text (spec 9.3.2, T43).

    `deadline` is in Unix milliseconds. A field of the caller's key that is called `value` is left out; upstream would
    let it replace the arguments (9.3.4).
    """
    context = _key(request, function) | _context(request, deadline)
    context.pop("value", None)
    return b'{"value":%b,%b' % (value, _json(context)[1:])


def _context(request: Request, deadline: int) -> dict[str, str]:
    """Who runs what, for whom (spec 9.2, 9.3, T44, T45): all from the message, as upstream does."""
    ref = request.function
    return {
        "namespace": request.caller.namespace,
        "action_name": f"/{ref.path}/{ref.name}",
        "action_version": ref.version,
        "activation_id": request.activation_id,
        "transaction_id": request.transaction.id,
        "deadline": str(deadline),
    }


_TEXTS: Final = msgspec.json.Decoder(dict[str, str])


def _key(request: Request, function: Function) -> dict[str, str]:
    """Return all fields of the caller's key, if the function may see it (spec 1.5.2, 6.9.1, T18)."""
    if not function.provide_api_key:
        return {}
    authkey = request.caller.authkey
    try:
        return _TEXTS.decode(authkey)
    except msgspec.DecodeError:  # a field that is no text, or an unusual one
        return {name: _text(value) for name, value in raw.members(authkey).items()}


def _text(value: msgspec.Raw) -> str:
    """Return a JSON value as an environment variable has it (spec 9.2.3)."""
    text = bytes(value).decode()
    match text[0]:
        case '"':
            return str(json.loads(text))  # may have lone surrogates
        case "n":
            return ""
        case "t" | "f":
            return text
        case "{" | "[":
            return _compact(text)
        case _:
            return _number(text)


def _compact(text: str) -> str:
    """Return an object or array without white space; one with lone surrogates stays as it was written."""
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return text


def _number(text: str) -> str:
    """Write a number with an exponent as upstream does: `1e3` becomes `1E+3`.

    Only these are rewritten. Others keep their text: upstream's is the same but for `0.0000001`, its `1E-7`, which
    would be of less use to a shell.
    """
    if "e" not in text and "E" not in text:
        return text
    try:
        return str(Decimal(text))
    except InvalidOperation:  # an exponent beyond all reason
        return text


def _json(value: Mapping[str, object] | str) -> bytes:
    """Encode texts, of which some may have lone surrogates: those are escaped."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


# --- what is answered ------------------------------------------------------------------------------------------


Form: TypeAlias = Literal["object", "array", "null", "scalar", "no JSON"]
"""What a body is. Numbers, texts and booleans are of no use as results and need no distinction (9.7.6)."""

_FORMS: Final[Mapping[bytes, Form]] = {b"{": "object", b"[": "array", b"n": "null"}


class RunAnswer(msgspec.Struct, frozen=True, gc=False):
    """What a container answered to `/run`, or to an `/init` that failed."""

    form: Form
    body: bytes
    """As it came, but in valid UTF-8."""
    error: msgspec.Raw | None = None
    """The member `error` of an object; JSON's `null` counts too (spec T51)."""

    @property
    def text(self) -> str:
        """The body as messages quote it."""
        return self.body.decode()

    def size(self, compat: Compat) -> int:
        """Return the length that records state: in UTF-16 units, or in bytes for `functions` (spec 8.4.4, T52)."""
        if compat == "functions" or self.body.isascii():
            return len(self.body)
        return len(self.text.encode("utf-16-le")) // 2


class _Reply(msgspec.Struct, gc=False):
    """All that matters in an object; the rest is checked and passed over."""

    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_REPLY: Final = msgspec.json.Decoder(_Reply)


_LARGE: Final = 64 << 10
"""Bytes of which nothing unusual takes more than 2 ms."""


def takes_long(body: bytes) -> bool:
    """Return whether reading a reply must not be done on the event loop: up to 40 ms for 1 MB."""
    return len(body) > _LARGE and (not body.isascii() or raw.has_surrogates(body))


def read_run(body: bytes) -> RunAnswer:
    """Read a reply; whatever it is, there is an answer. The status is not looked at.

    Bytes that are no UTF-8 are replaced first. JSON that is nested too deeply to be read is none, nor is what has
    `NaN` or `Infinity`.
    """
    body = raw.mended(body)
    try:
        error = _REPLY.decode(body).error
    except (msgspec.DecodeError, RecursionError):
        return _unusual(body)
    return RunAnswer("object", body, None if error is msgspec.UNSET else error)


def _unusual(body: bytes) -> RunAnswer:
    """Read what is no object, or one with lone surrogates, which are legal and stay."""
    try:
        value = raw.checked(body)
        form = _FORMS.get(memoryview(value)[:1].tobytes(), "scalar")
        error = _REPLY.decode(raw.masked(body)).error if form == "object" else msgspec.UNSET
    except (NotJSON, RecursionError):
        return RunAnswer("no JSON", body)
    return RunAnswer(form, body, None if error is msgspec.UNSET else raw.unmasked(error))


def error_response(error: str | msgspec.Raw) -> msgspec.Raw:
    """Return `{"error": …}` with a text, or with any JSON (spec 8.4.3)."""
    if isinstance(error, str):
        return msgspec.Raw(_json({"error": error}))
    return msgspec.Raw(b'{"error":%b}' % (error,))
