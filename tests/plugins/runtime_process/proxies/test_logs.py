"""What a function writes, and the sentinels that end each activation (spec 9.11.1)."""

import os
from pathlib import Path

from tests.plugins.runtime_process.proxies.proxy import SENTINEL, StartedProxy

TALKS = {
    "python": """
import sys
def main(args):
    print(args["text"])
    print(args["text"].upper(), file=sys.stderr)
    return {}
""",
    "nodejs": """
function main(args) {
    console.log(args.text);
    console.error(args.text.toUpperCase());
}
""",
}


def test_each_run_ends_both_streams_with_a_sentinel(proxy: StartedProxy) -> None:
    proxy.loaded(TALKS)

    for text in ("first", "second"):
        proxy.run({"text": text})
        assert proxy.stdout.activation() == f"{text}\n"
        assert proxy.stderr.activation() == f"{text.upper()}\n"


def test_the_sentinels_are_there_before_the_answer(language: str, start: list[str], tmp_path: Path) -> None:
    with StartedProxy(language, start, tmp_path, drained=False) as proxy:
        proxy.loaded(TALKS)
        proxy.run({"text": "text"})

        assert proxy.process.stdout is not None
        assert proxy.process.stderr is not None
        assert os.read(proxy.process.stdout.fileno(), 1000).decode() == "text\n" + SENTINEL
        assert os.read(proxy.process.stderr.fileno(), 1000).decode() == "TEXT\n" + SENTINEL


def test_what_is_written_while_loading_belongs_to_the_first_run(proxy: StartedProxy) -> None:
    code = {
        "python": "print('loading', end='')\ndef main(args): print('running')",
        "nodejs": "process.stdout.write('loading');\nfunction main() { console.log('running'); }",
    }
    proxy.loaded(code)

    proxy.run()
    proxy.run()

    assert proxy.stdout.activation() == "loadingrunning\n"
    assert proxy.stdout.activation() == "running\n"


def test_a_last_line_without_an_end_comes_before_the_sentinel(proxy: StartedProxy) -> None:
    code = {
        "python": "def main(args): print('no end', end='')",
        "nodejs": "function main() { process.stdout.write('no end'); }",
    }
    proxy.loaded(code)

    proxy.run()

    assert proxy.stdout.activation() == "no end"


def test_output_keeps_its_order_beside_that_of_child_processes(proxy: StartedProxy) -> None:
    code = {
        "python": """
import subprocess
def main(args):
    for i in range(3):
        print("own", i)
        subprocess.run(["echo", f"child {i}"])
""",
        "nodejs": """
const { spawnSync } = require("child_process");
function main() {
    for (let i = 0; i < 3; i += 1) {
        console.log("own", i);
        spawnSync("echo", [`child ${i}`], { stdio: "inherit" });
    }
}
""",
    }
    proxy.loaded(code)

    proxy.run()

    assert proxy.stdout.activation() == "own 0\nchild 0\nown 1\nchild 1\nown 2\nchild 2\n"


def test_much_output_is_complete_before_its_sentinel(proxy: StartedProxy) -> None:
    code = {
        "python": "def main(args):\n  for i in range(args['n']): print(i, 'x' * 1000)",
        "nodejs": "function main(args) { for (let i = 0; i < args.n; i += 1) console.log(i, 'x'.repeat(1000)); }",
    }
    proxy.loaded(code)

    assert proxy.run({"n": 5000}).status == 200

    lines = proxy.stdout.activation().splitlines()
    assert [line.split()[0] for line in lines] == [str(i) for i in range(5000)]
    assert all(line.endswith("x" * 1000) for line in lines)


def test_text_that_is_no_unicode_can_be_written(proxy: StartedProxy) -> None:
    proxy.loaded(TALKS)

    assert proxy.run({"text": "half \ud83d"}).status == 200

    written = {"python": "half \\ud83d\n", "nodejs": "half \ufffd\n"}[proxy.language]
    assert proxy.stdout.activation() == written


def test_a_function_that_closes_its_output_is_still_ended_by_sentinels(proxy: StartedProxy) -> None:
    code = {
        "python": """
import os, sys
def main(args):
    sys.stdout.close()
    sys.stderr = None
    os.close(1)
    os.close(2)
""",
        "nodejs": "const fs = require('fs');\nfunction main() { fs.closeSync(1); fs.closeSync(2); }",
    }
    proxy.loaded(code)

    assert proxy.run() == (200, {})

    assert proxy.stdout.activation() == ""
    assert proxy.stderr.activation() == ""


def test_a_pipe_that_was_made_non_blocking_loses_nothing(proxy: StartedProxy) -> None:
    code = {
        "python": """
import os
def main(args):
    os.set_blocking(1, False)
    left = b"x" * (1 << 20) + b"last\\n"
    while left:
        try:
            left = left[os.write(1, left):]
        except BlockingIOError:
            pass
""",
        "nodejs": """
function main() {
    for (let i = 0; i < 16; i += 1) process.stdout.write("x".repeat(65536));
    process.stdout.write("last\\n");
}
""",
    }
    proxy.loaded(code)

    assert proxy.run().status == 200

    assert proxy.stdout.activation() == "x" * (1 << 20) + "last\n"
    assert proxy.stderr.activation() == ""
