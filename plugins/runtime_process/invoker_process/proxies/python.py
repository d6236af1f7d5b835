"""The action proxy for Python: `POST /init` once, then `POST /run`, over HTTP/1.1 (spec 9.1-9.3).

One file, standard library only, Python 3.10 or newer, so that it can be copied into an image:

    python3 -I -S python.py --fd N [--watch-stdin]       a listening socket that was passed down
    python3 python.py [--host ADDRESS] [--port 8080]     a socket of its own

`--watch-stdin` ties its life to the other end of standard input: when that is closed (or written to) the kernel kills
the proxy and, if it leads a process group, the group, whatever the function is doing.

The function runs in the main thread, one activation at a time. What it raises is a failure (502) and goes to its log;
`sys.exit` ends the process, which whoever called sees as a crash. An event loop that an `async def` needs is made once
and kept, so that clients which live in global variables still work at the next activation.
"""
# Nothing is imported that only some functions need, nor pathlib: that is milliseconds of every cold start.
# ruff: noqa: INP001, PLC0415, PTH101, PTH103, PTH113, PTH118, PTH119, PTH120, PTH123, PTH207, PTH211

import fcntl
import io
import json
import os
import re
import select
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"  # spec 9.11.1
HEAD_LIMIT = 64 << 10
BODY_LIMIT = 64 << 20  # bytes of a request
UNPACKED_LIMIT = 512 << 20  # bytes of all files of an archive together
MEMBER_LIMIT = 20_000
RATIO_LIMIT = 200  # how much larger than the archive its files may be
RATIO_FLOOR = 32 << 20  # up to which small archives are let off
ERROR_TEXT_LIMIT = 4096

_REASONS = {200: b"OK", 400: b"Bad Request", 403: b"Forbidden", 404: b"Not Found", 411: b"Length Required"}
_REASONS |= {413: b"Content Too Large", 431: b"Headers Too Long", 500: b"Internal Server Error", 502: b"Bad Gateway"}
_KEPT = b"Keep-Alive: timeout=600"  # for ever, in truth; callers that look at it keep their connection as long
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?:\r|$)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close|^\S+ \S+ HTTP/1\.0(?:\r|$)", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)

_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

Answer = tuple[int, bytes]  # status and JSON


class RequestRefused(Exception):
    """A request that can't be served; `status` and the text are its answer."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class ActionStreams:
    """Both streams: what the function wrote, what we have to say, and the end of each activation."""

    def __init__(self) -> None:
        self._streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
        for stream in self._streams:
            # A line is written when it is complete, so that order is kept beside what child processes write.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._descriptors = os.dup(1), os.dup(2)  # the function may close its own

    def write(self, text: str) -> None:
        """Add to the function's stderr."""
        self.flush()
        _write(self._descriptors[1], text.encode("utf-8", "backslashreplace"))

    def end(self) -> None:
        """End the activation's output: whoever reads it finds the sentinels no later than the reply."""
        self.flush()
        for descriptor in self._descriptors:
            _write(descriptor, SENTINEL)

    def flush(self) -> None:
        """Write what the function's streams hold back."""
        for stream in (sys.stdout, sys.stderr, *self._streams):
            try:  # noqa: SIM105 (on every activation's way)
                stream.flush()
            except Exception:  # noqa: BLE001, S110 (closed, or replaced by anything: the function's business)
                pass


class PythonAction:
    """The one function that this process runs."""

    def __init__(self, logs: ActionStreams) -> None:
        self._logs = logs
        self._main: Callable[[Any], Any] | None = None
        self._loop: Any = None

    def init(self, body: bytes) -> Answer:
        """Load the function; its output so far belongs to its first activation, so no sentinel follows."""
        if self._main is not None:
            raise RequestRefused(403, "Cannot initialize the action more than once.")
        value = _parse(body).get("value")
        if not isinstance(value, dict) or not isinstance(value.get("code"), str) or not value["code"]:
            raise RequestRefused(502, "Missing main/no code to execute.")
        try:
            for name, text in (value.get("env") or {}).items():
                _export(name, text)
            module = _packed(value["code"]) if value.get("binary") else _plain(value["code"])
            name = value.get("main") or "main"
            if not callable(main := getattr(module, name, None)):
                raise TypeError(f"the code has no function {name!r}")  # noqa: TRY301 (one answer for all)
        except Exception as error:  # noqa: BLE001 (the function's own code ran)
            self._logs.write(_traceback(error))
            raise RequestRefused(502, f"Initialization has failed due to: {_brief(error)}") from None
        self._main = main
        self._logs.flush()
        return 200, b'{"ok":true}'

    def run(self, body: bytes) -> Answer:
        """Run one activation, and end its logs."""
        if self._main is None:
            raise RequestRefused(500, "Cannot invoke an uninitialized action.")
        request = _parse(body)
        value = request.pop("value", None)
        try:
            for name, text in request.items():
                _export("__OW_" + name.upper(), text)
            result = self._main({} if value is None else value)
            if hasattr(result, "__await__"):
                result = self._awaited(result)
        except Exception as error:  # noqa: BLE001 (the function's own code ran)
            self._logs.write(_traceback(error))
            answer = _failure(502, f"An error has occurred (see logs for details): {_brief(error)}")
        else:
            answer = self._result(result)
        self._logs.end()
        return answer

    def _awaited(self, awaitable: Any) -> Any:
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(awaitable)

    def _result(self, result: Any) -> Answer:
        if result is None:
            return 200, b"{}"
        try:
            if not isinstance(result, (dict, list)):
                raise TypeError(f"it returned {type(result).__name__}")  # noqa: TRY301 (one answer for all)
            try:
                return 200, _encode(result).encode()
            except UnicodeEncodeError:  # lone surrogates exist in JSON, not in UTF-8
                return 200, _encode_ascii(result).encode()
        except Exception as error:  # noqa: BLE001 (the result's own methods ran)
            self._logs.write(f"The result is not JSON: {_brief(error)}\n")
            return _failure(502, "The action did not return a dictionary or array.")


def _plain(code: str) -> ModuleType:
    """Run source text as a module."""
    import linecache

    module = sys.modules["main__"] = ModuleType("main__")  # not `__main__`: it isn't started as a program
    module.__file__ = name = "__main__.py"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # tracebacks quote it
    exec(compile(code, name, "exec"), module.__dict__)  # noqa: S102 (what this program is for)
    return module


def _packed(code: str) -> ModuleType:
    """Unpack an archive into a new folder, make it the working directory, and import its `__main__.py`."""
    import binascii
    import glob
    import importlib.util
    import site
    import tempfile

    folder = tempfile.mkdtemp(prefix="action-")
    unpack(binascii.a2b_base64(code), folder)
    path = os.path.join(folder, "__main__.py")
    if not os.path.isfile(path):
        raise ValueError("the archive has no __main__.py at its top level")
    os.chdir(folder)
    sys.path.insert(0, folder)
    for packages in sorted(glob.glob(os.path.join(glob.escape(folder), "virtualenv/lib/python*/site-packages"))):
        site.addsitedir(packages)
    spec = importlib.util.spec_from_file_location("main__", path)
    assert spec is not None and spec.loader is not None  # noqa: PT018, S101 (true of every .py file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["main__"] = module
    spec.loader.exec_module(module)
    return module


def unpack(data: bytes, folder: str) -> None:
    """Unpack a zip archive; everything stays inside `folder`. `ValueError` if it is none, or a member is refused."""
    import shutil
    import stat
    import zipfile

    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise ValueError(f"the code is no zip archive: {error}") from None
    members = archive.infolist()
    _check_sizes(len(data), [member.file_size for member in members])
    links: list[tuple[str, bytes]] = []
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename!r} is encrypted")
        name = member.orig_filename.replace("\\", "/")
        path = _inside(folder, name)
        mode = member.external_attr >> 16
        if stat.S_ISLNK(mode):
            links.append((path, archive.read(member)))
        elif name.endswith("/"):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(member) as packed, open(path, "xb") as file:  # never twice
                shutil.copyfileobj(packed, file, 1 << 20)
            if mode & 0o111:
                os.chmod(path, 0o755)  # noqa: S103 (executable, as it was packed)
    for path, target in links:  # at last, so that nothing is written through one
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, os.fsencode(path))
    root = os.path.realpath(folder)
    for path, target in links:
        if not os.path.realpath(path, strict=True).startswith(root + os.sep):
            raise ValueError(f"{os.path.basename(path)!r} is a link to {os.fsdecode(target)!r}, outside of the archive")


def _check_sizes(packed: int, sizes: list[int]) -> None:
    unpacked = sum(sizes)  # zipfile takes no more out of a member than it declares
    if len(sizes) > MEMBER_LIMIT:
        raise ValueError(f"the archive has {len(sizes)} members; {MEMBER_LIMIT} are allowed")
    if unpacked > min(UNPACKED_LIMIT, max(RATIO_FLOOR, packed * RATIO_LIMIT)):
        raise ValueError(f"the archive of {packed} bytes would be {unpacked} bytes long; that is too much")


def _inside(folder: str, name: str) -> str:
    """Return where a member goes."""
    parts = name.split("/")
    if ".." in parts or not parts[0] or parts[0][1:2] == ":" or "\0" in name:
        raise ValueError(f"the archive has a member {name!r}, which would leave its folder")
    return os.path.join(folder, *(one for one in parts if one not in ("", ".")))


class ProxyConnection:
    """One connection."""

    def __init__(self, connection: socket.socket, action: PythonAction) -> None:
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._action = action
        self._unread = bytearray()
        self._wanted = 0  # bytes that must be there before it is worth another look

    def ready(self) -> bool:
        """Read what came, answer what is complete; return whether the connection goes on."""
        try:
            data = self.connection.recv(1 << 16)
            self._unread += data
            while data and len(self._unread) >= max(self._wanted, 1) and (request := self._request()) is not None:
                if not self._answer(*request):
                    return False
        except RequestRefused as error:  # not HTTP as we know it: what follows can't be understood
            self._send(*_failure(error.status, str(error)), close=True)
            return False
        except OSError:  # the caller is gone
            return False
        return bool(data)

    def _request(self) -> tuple[bytes, bytes] | None:
        """Take a whole request, head and body, out of what was read."""
        unread = self._unread
        end = unread.find(b"\r\n\r\n")
        if end > HEAD_LIMIT or (end < 0 and len(unread) > HEAD_LIMIT):
            raise RequestRefused(431, "The request's headers are too long.")
        if end < 0:
            self._wanted = len(unread) + 1
            return None
        head = bytes(unread[:end])
        if _CODED.search(head):
            raise RequestRefused(411, "A request needs a Content-Length.")
        length = _LENGTH.search(head)
        start = end + 4
        total = start + (int(length[1]) if length else 0)
        if total - start > BODY_LIMIT:
            raise RequestRefused(413, f"The request is longer than {BODY_LIMIT} bytes.")
        if len(unread) < total:
            if self._wanted != total and _EXPECTS.search(head):
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wanted = total
            return None
        body = bytes(memoryview(unread)[start:total])
        del unread[:total]
        self._wanted = 0
        return head, body

    def _answer(self, head: bytes, body: bytes) -> bool:
        try:
            if head.startswith(b"POST /run "):
                status, answer = self._action.run(body)
            elif head.startswith(b"POST /init "):
                status, answer = self._action.init(body)
            else:
                status, answer = _failure(404, "There is POST /init and POST /run, nothing else.")
        except RequestRefused as error:
            status, answer = _failure(error.status, str(error))
        close = _CLOSE.search(head) is not None
        self._send(status, answer, close=close)
        return not close

    def _send(self, status: int, answer: bytes, *, close: bool) -> None:
        self.connection.sendall(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n\r\n%b"
            % (status, _REASONS[status], len(answer), b"Connection: close" if close else _KEPT, answer)
        )


def serve(listener: socket.socket, action: PythonAction) -> None:
    """Answer requests, one at a time, for ever. New connections are taken while others are idle."""
    listener.settimeout(0)
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                caller = key.data
                if caller is None:
                    try:
                        connection, _address = listener.accept()
                    except OSError:  # it left before we came
                        continue
                    waiting.register(connection, selectors.EVENT_READ, ProxyConnection(connection, action))
                elif not caller.ready():
                    waiting.unregister(caller.connection)
                    caller.connection.close()


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = _decode(body.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, f"The request is not JSON: {error}") from None
    if isinstance(request, dict):
        return request
    raise RequestRefused(400, "The request is no JSON object.")


def _failure(status: int, text: str) -> Answer:
    return status, _encode_ascii({"error": text}).encode()


def _export(name: str, value: Any) -> None:
    """Put into the environment; what can't be encoded in it is replaced."""
    text = value if isinstance(value, str) else "" if value is None else _encode_ascii(value)
    try:
        os.environ[name] = text
    except UnicodeEncodeError:
        os.environb[name.encode("utf-8", "replace")] = text.encode("utf-8", "replace")


def _brief(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (a class of the function's)
        text = "?"
    return f"{type(error).__name__}: {text}"[:ERROR_TEXT_LIMIT]


def _traceback(error: Exception) -> str:
    """As Python prints it, without the frames of this file."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # a child process made the pipe non-blocking, for everybody
            os.set_blocking(descriptor, True)


def _leave_with_stdin() -> None:
    """Have the kernel kill us when standard input ends: it needs no thread, and no help from a busy interpreter."""
    watched = os.dup(0)
    leader = os.getpgrp() == os.getpid()
    fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(watched, fcntl.F_SETOWN, -os.getpid() if leader else os.getpid())
    fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)
    ended = select.poll()
    ended.register(watched, select.POLLIN)
    if ended.poll(0):  # before we asked
        os._exit(0)


def main() -> None:
    """Run until the process is ended from outside, or by the function."""
    arguments = [one for one in sys.argv[1:] if one != "--watch-stdin"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if "--fd" in options:
        listener = socket.socket(fileno=int(options["--fd"]))
        listener.set_inheritable(False)
    else:
        address = options.get("--host", "0.0.0.0"), int(options.get("--port", "8080"))  # noqa: S104 (of a container)
        listener = socket.create_server(address, backlog=128)
    if "--watch-stdin" in sys.argv:
        _leave_with_stdin()
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    del sys.argv[1:]
    sys.dont_write_bytecode = True  # nobody will read it: each process has its own folder
    serve(listener, PythonAction(ActionStreams()))


if __name__ == "__main__":
    main()
