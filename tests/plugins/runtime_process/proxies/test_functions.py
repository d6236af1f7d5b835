"""What a function is given and what becomes of what it returns: the same in every language."""

import json

import pytest

from tests.plugins.runtime_process.proxies.proxy import StartedProxy

ECHO = {
    "python": "def main(args): return args",
    "nodejs": "function main(args) { return args; }",
}
ENVIRONMENT = {
    "python": """
import os
LOADED = dict(os.environ)
def main(args):
    return {"loaded": LOADED, "now": dict(os.environ)}
""",
    "nodejs": """
const loaded = { ...process.env };
function main(args) { return { loaded, now: { ...process.env } }; }
""",
}


def test_a_function_gets_its_parameters_and_its_result_is_the_answer(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)

    answer = proxy.run({"name": "you", "n": 1.5, "deep": {"list": [None, True]}})

    assert answer == (200, {"name": "you", "n": 1.5, "deep": {"list": [None, True]}})


def test_a_function_may_have_another_name(proxy: StartedProxy) -> None:
    code = {
        "python": "def handler(args): return {'it': 'works'}",
        "nodejs": "exports.handler = (args) => ({ it: 'works' });",
    }
    proxy.loaded(code, main="handler")

    assert proxy.run() == (200, {"it": "works"})


def test_the_entry_point_is_main_if_nobody_says_so(proxy: StartedProxy) -> None:
    assert proxy.ask("/init", {"value": {"code": ECHO[proxy.language]}}).status == 200
    assert proxy.run({"a": 1}) == (200, {"a": 1})


def test_parameters_and_results_may_be_arrays(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)

    assert proxy.run([1, {"two": 2}]) == (200, [1, {"two": 2}])  # spec T46


def test_a_run_without_a_value_has_no_parameters(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)

    assert proxy.ask("/run", {}) == (200, {})
    assert proxy.ask("/run", {"value": None}) == (200, {})


@pytest.mark.parametrize(
    "nothing", [{"python": "return", "nodejs": "return;"}, {"python": "return None", "nodejs": "return null;"}]
)
def test_a_function_that_returns_nothing_returns_an_empty_object(proxy: StartedProxy, nothing: dict[str, str]) -> None:
    proxy.loaded(
        {"python": f"def main(args): {nothing['python']}", "nodejs": f"function main() {{ {nothing['nodejs']} }}"}
    )

    assert proxy.run() == (200, {})


def test_an_asynchronous_function_is_waited_for(proxy: StartedProxy) -> None:
    code = {
        "python": """
import asyncio
async def main(args):
    await asyncio.sleep(0)
    return {"loop": id(asyncio.get_running_loop())}
""",
        "nodejs": """
async function main(args) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return { loop: 1 };
}
""",
    }
    proxy.loaded(code)

    first, second = proxy.run(), proxy.run()

    assert first.status == 200
    assert first == second  # what is bound to the loop lives on


def test_the_environment_of_init_is_there_when_the_code_is_loaded_and_later(proxy: StartedProxy) -> None:
    given = {"LOG_LEVEL": "debug", "grüße": "schön", "__OW_API_KEY": "k:s", "EMPTY": ""}
    proxy.loaded(ENVIRONMENT, env=given)

    seen = proxy.run().body

    for environment in (seen["loaded"], seen["now"]):
        assert (
            environment.items() >= {"LOG_LEVEL": "debug", "grüße": "schön", "__OW_API_KEY": "k:s", "EMPTY": ""}.items()
        )


def test_the_context_of_each_run_is_in_the_environment(proxy: StartedProxy) -> None:
    proxy.loaded(ENVIRONMENT, env={"__OW_ACTIVATION_ID": "of init", "KEPT": "yes"})

    first = proxy.run(activation_id="first", api_key="k:s", deadline="1790000060270", anything_else="too")
    second = proxy.run(activation_id="second", deadline="1790000060280")

    assert (
        first.body["now"].items()
        >= {
            "__OW_ACTIVATION_ID": "first",
            "__OW_API_KEY": "k:s",
            "__OW_DEADLINE": "1790000060270",
            "__OW_ANYTHING_ELSE": "too",
            "KEPT": "yes",
        }.items()
    )
    assert second.body["now"].items() >= {"__OW_ACTIVATION_ID": "second", "__OW_DEADLINE": "1790000060280"}.items()


def test_context_that_is_no_text_does_no_harm(proxy: StartedProxy) -> None:
    proxy.loaded(ENVIRONMENT)

    answer = proxy.run(action_version=None, deadline=1790000060270)  # spec T43

    assert answer.body["now"].items() >= {"__OW_ACTION_VERSION": "", "__OW_DEADLINE": "1790000060270"}.items()


def test_any_text_comes_back_as_it_was(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)
    value = {"ключ": "значение", "emoji": "\U0001f600", "controls": "\x00\x1f\u2028", "quote": '"\\'}

    assert proxy.run(value) == (200, value)
    assert proxy.ask("/run", json.dumps({"value": value}, ensure_ascii=False).encode()) == (200, value)


def test_lone_surrogates_come_back_as_they_were(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)

    assert proxy.run({"half": "\ud83d", "\udc00": 1}) == (200, {"half": "\ud83d", "\udc00": 1})


def test_text_that_the_environment_cannot_hold_does_no_harm(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO, env={"HALF": "a\ud83dz"})

    assert proxy.run({"a": 1}, activation_id="a\ud83dz") == (200, {"a": 1})


def test_large_parameters_and_results_go_through(proxy: StartedProxy) -> None:
    proxy.loaded(ECHO)
    value = {"text": "é" * (1 << 20), "list": list(range(100_000))}

    assert proxy.run(value) == (200, value)


def test_state_stays_from_run_to_run(proxy: StartedProxy) -> None:
    code = {
        "python": "n = 0\ndef main(args):\n    global n\n    n += 1\n    return {'n': n}",
        "nodejs": "let n = 0;\nfunction main() { n += 1; return { n }; }",
    }
    proxy.loaded(code)

    assert [proxy.run().body["n"] for _ in range(200)] == list(range(1, 201))


def test_standard_input_is_empty(proxy: StartedProxy) -> None:
    code = {
        "python": """
import os, sys, subprocess
def main(args):
    return {"own": sys.stdin.read(), "child": subprocess.run(["cat"], capture_output=True, text=True).stdout}
""",
        "nodejs": """
const { spawnSync } = require("child_process");
function main() {
    const child = spawnSync("cat", { stdio: ["inherit", "pipe", "pipe"] });
    return { own: require("fs").readFileSync(0, "utf8"), child: child.stdout.toString() };
}
""",
    }
    proxy.loaded(code)

    assert proxy.run() == (200, {"own": "", "child": ""})


@pytest.mark.parametrize("language", ["nodejs"])
@pytest.mark.parametrize(
    "code",
    [
        "const main = (args) => ({ ok: 1 });",
        "main = function () { return { ok: 1 }; }",
        "exports.main = () => ({ ok: 1 }); // no line end",
        "module.exports = { main: () => ({ ok: 1 }) }",
        "import { join } from 'path';\nexport function main() { return { ok: join('1') * 1 }; }",
        "'use strict';\nclass A { }\nasync function main() { return { ok: 1 } }",
        "#!/usr/bin/env node\nfunction main() { return { ok: 1 } }",
    ],
)
def test_a_javascript_function_is_found_wherever_it_is(proxy: StartedProxy, code: str) -> None:
    proxy.loaded(code)

    assert proxy.run() == (200, {"ok": 1})


@pytest.mark.parametrize("language", ["python"])
def test_a_python_file_is_a_module_that_was_not_started_as_a_program(proxy: StartedProxy) -> None:
    proxy.loaded("""
import dataclasses, pickle
@dataclasses.dataclass
class Point:
    x: int = 1
def main(args):
    return {"name": __name__, "x": pickle.loads(pickle.dumps(Point(7))).x}
if __name__ == "__main__":
    raise SystemExit("started by hand")
""")

    assert proxy.run() == (200, {"name": "main__", "x": 7})
