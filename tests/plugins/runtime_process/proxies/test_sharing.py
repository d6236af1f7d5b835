"""Runs that arrive together: in turn, or with `__OW_ALLOW_CONCURRENT` at the same time (spec 10.12.6)."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.runtime_process.proxies.proxy import StartedProxy

PATIENT = {
    "python": """
import os
running = 0
def main(args):
    global running
    running += 1
    beside = running
    while not os.path.exists(args["file"]):
        pass
    running -= 1
    return {"beside": beside}
""",
    "nodejs": """
const fs = require("fs");
let running = 0;
async function main({ file }) {
    running += 1;
    const beside = running;
    while (!fs.existsSync(file)) await new Promise(setImmediate);
    running -= 1;
    return { beside };
}
""",
}
"""Tells how many runs there are, itself included; ends when a file is there."""

MEETS = """
const waiting = [];
function main({ name, of }) {
    console.log(`${name} begins`);
    return new Promise((done) => {
        waiting.push(() => {
            console.log(`${name} ends as ${process.env.__OW_ACTIVATION_ID}`);
            done({ name });
        });
        if (waiting.length === of) for (const end of waiting.splice(0)) end();
    });
}
"""
"""Ends no run before `of` have begun."""


class RunCaller:
    """A request on a connection of its own."""

    def __init__(self, proxy: StartedProxy, **value: object) -> None:
        body = json.dumps({"value": value, "activation_id": f"id of {value.get('name')}"}).encode()
        self._connection = proxy.dial()
        head = b"POST /run HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._connection.sendall(head + body)

    def answer(self) -> object:
        with self._connection, self._connection.makefile("rb") as reply:
            return json.loads(reply.read().partition(b"\r\n\r\n")[2])


@pytest.fixture
def sharing(start: list[str], tmp_path: Path) -> Iterator[StartedProxy]:
    with StartedProxy("nodejs", start, tmp_path, environment={"__OW_ALLOW_CONCURRENT": "true"}) as proxy:
        yield proxy


def test_runs_wait_for_one_another(proxy: StartedProxy) -> None:
    proxy.loaded(PATIENT)
    file = proxy.directory / "go"
    callers = [RunCaller(proxy, file=str(file)) for _ in range(3)]
    if proxy.language == "nodejs":
        assert proxy.ask("/nothing", {}).status == 404  # by now it has read the others too

    file.touch()

    assert [caller.answer() for caller in callers] == [{"beside": 1}] * 3


def test_a_run_that_fails_lets_the_next_one_go(proxy: StartedProxy) -> None:
    code = {
        "python": "def main(args):\n    if args['name'] == 'bad': raise ValueError\n    return args",
        "nodejs": "function main(args) { if (args.name === 'bad') throw new Error('no'); return args; }",
    }
    proxy.loaded(code)

    bad, good = RunCaller(proxy, name="bad"), RunCaller(proxy, name="good")

    assert "error" in str(bad.answer())
    assert good.answer() == {"name": "good"}


@pytest.mark.parametrize("language", ["nodejs"])
def test_with_the_variable_they_run_together(sharing: StartedProxy) -> None:
    sharing.loaded(MEETS)

    callers = [RunCaller(sharing, name=name, of=3) for name in ("a", "b", "c")]

    assert [caller.answer() for caller in callers] == [{"name": name} for name in ("a", "b", "c")]


@pytest.mark.parametrize("language", ["nodejs"])
def test_each_run_among_others_ends_both_streams(sharing: StartedProxy) -> None:
    sharing.loaded(MEETS)

    for caller in [RunCaller(sharing, name=name, of=3) for name in ("a", "b", "c")]:
        caller.answer()
    alone = RunCaller(sharing, name="d", of=1)
    alone.answer()

    printed = [sharing.stdout.activation() for _ in range(4)]
    assert "".join(printed[:3]).count(" begins\n") == 3
    assert "".join(printed[:3]).count(" ends as ") == 3
    assert printed[3] == "d begins\nd ends as id of d\n"
    assert [sharing.stderr.activation() for _ in range(4)] == [""] * 4


@pytest.mark.parametrize("language", ["nodejs"])
def test_runs_together_see_the_variables_of_the_last(sharing: StartedProxy) -> None:
    sharing.loaded(MEETS)

    first = RunCaller(sharing, name="a", of=2)
    assert sharing.stdout.until(b"a begins\n") == ""
    second = RunCaller(sharing, name="b", of=2)
    first.answer()
    second.answer()

    assert "a ends as id of b\n" in sharing.stdout.activation()
