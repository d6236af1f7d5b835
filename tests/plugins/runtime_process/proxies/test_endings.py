"""How a proxy ends: by its function, or with whoever started it."""

import http.client
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.plugins.runtime_process.proxies.proxy import PATIENCE, StartedProxy

BUSY = {
    "python": "def main(args):\n  print('busy')\n  sum(range(10 ** 15))",  # one instruction of the interpreter
    "nodejs": "function main() { console.log('busy'); for (;;); }",
}
IDLE = {"python": "def main(args): return {}", "nodejs": "function main() {}"}


def close_stdin(proxy: StartedProxy) -> None:
    assert proxy.process.stdin is not None
    proxy.process.stdin.close()


@contextmanager
def asking(proxy: StartedProxy, path: str, body: object) -> Iterator[None]:
    """Ask something that will get no answer."""

    def ask() -> None:
        with suppress(OSError):
            proxy.ask(path, body)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)


def test_a_function_that_exits_ends_the_proxy_without_an_answer(proxy: StartedProxy) -> None:
    proxy.loaded(
        {"python": "import sys\ndef main(args): sys.exit(7)", "nodejs": "function main() { process.exit(7); }"}
    )

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        proxy.run()

    assert proxy.ended() == 7
    assert proxy.stdout.rest() == ""


def test_code_that_exits_while_it_is_loaded_ends_the_proxy(proxy: StartedProxy) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        proxy.init({"python": "import os\nos._exit(3)", "nodejs": "process.exit(3);"})

    assert proxy.ended() == 3


@pytest.mark.parametrize("language", ["python"])
def test_a_python_coroutine_that_exits_ends_the_proxy(proxy: StartedProxy) -> None:
    proxy.loaded("async def main(args): raise SystemExit(5)")

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        proxy.run()

    assert proxy.ended() == 5


@pytest.mark.parametrize("language", ["nodejs"])
@pytest.mark.parametrize(
    "breaks", ["setTimeout(() => { throw new Error('late'); }, 0)", "Promise.reject(new Error('late'))"]
)
def test_what_is_thrown_outside_of_a_run_ends_the_proxy(proxy: StartedProxy, breaks: str) -> None:
    proxy.loaded(f"function main() {{ {breaks}; return new Promise(() => {{}}); }}")

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        proxy.run()

    assert proxy.ended() == 1
    assert "late" in proxy.stderr.rest()


def test_an_idle_proxy_leaves_with_its_standard_input(proxy: StartedProxy) -> None:
    assert proxy.ask("/", {}).status == 404

    close_stdin(proxy)

    assert proxy.ended() == -9


def test_a_warm_proxy_leaves_with_its_standard_input(proxy: StartedProxy) -> None:
    proxy.loaded(IDLE).run()

    close_stdin(proxy)

    assert proxy.ended() == -9


def test_a_busy_function_cannot_keep_the_proxy_from_leaving(proxy: StartedProxy) -> None:
    proxy.loaded(BUSY)
    with asking(proxy, "/run", {}):
        proxy.stdout.until(b"busy\n")

        close_stdin(proxy)

        assert proxy.ended() == -9


def test_a_stopped_proxy_leaves_as_well_or_as_soon_as_it_goes_on(proxy: StartedProxy) -> None:
    proxy.loaded(IDLE).run()
    proxy.process.send_signal(signal.SIGSTOP)

    close_stdin(proxy)
    if proxy.language == "nodejs":  # whose watch is a thread of its own; Python's is the kernel
        proxy.process.send_signal(signal.SIGCONT)

    assert proxy.ended() == -9


def test_code_that_is_busy_loading_cannot_keep_the_proxy_from_leaving(proxy: StartedProxy) -> None:
    loops = {"python": "print('busy')\nwhile True: pass", "nodejs": "console.log('busy'); for (;;);"}
    with asking(proxy, "/init", {"value": {"code": loops[proxy.language]}}):
        proxy.stdout.until(b"busy\n")

        close_stdin(proxy)

        assert proxy.ended() == -9


def test_a_proxy_that_leaves_takes_the_children_of_its_function_along(proxy: StartedProxy) -> None:
    code = {
        "python": "import subprocess\ndef main(args): return {'pid': subprocess.Popen(['sleep', '1000']).pid}",
        "nodejs": """
const { spawn } = require("child_process");
function main() { return { pid: spawn("sleep", ["1000"]).pid }; }
""",
    }
    child = os.pidfd_open(proxy.loaded(code).run().body["pid"])
    with ExitStack() as closing:
        closing.callback(os.close, child)

        close_stdin(proxy)

        assert proxy.ended() == -9
        assert select.select([child], [], [], PATIENCE)[0] == [child]
