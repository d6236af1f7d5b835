"""Code that can't be loaded, functions that fail, results that are none."""

import pytest

from tests.plugins.runtime_process.proxies.proxy import StartedProxy

OK = {"python": "def main(args): return {}", "nodejs": "function main() { return {}; }"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ({"python": "def main(args: return {}", "nodejs": "function main( { return {}; }"}, "SyntaxError"),
        ({"python": "raise ValueError('no way')", "nodejs": "throw new RangeError('no way');"}, "no way"),
        ({"python": "import nowhere_to_be_found", "nodejs": "require('nowhere_to_be_found')"}, "nowhere_to_be_found"),
        ({"python": "def other(args): pass", "nodejs": "function other() {}"}, "main"),
        ({"python": "main = 1", "nodejs": "const main = 1;"}, "main"),
    ],
    ids=["syntax", "exception", "import", "missing", "no function"],
)
def test_code_that_cannot_be_loaded_says_why_and_shows_it_in_the_log(
    proxy: StartedProxy, code: dict[str, str], said: str
) -> None:
    answer = proxy.init(code)

    assert answer.status == 502
    assert answer.body["error"].startswith("Initialization has failed due to: ")
    assert said in answer.body["error"]
    proxy.process.kill()
    assert said in proxy.stderr.rest()
    assert proxy.stdout.rest() == ""  # no sentinel either


@pytest.mark.parametrize("code", [None, "", 7])
def test_no_code_is_an_error(proxy: StartedProxy, code: object) -> None:
    answer = proxy.ask("/init", {"value": {"name": "test", "code": code}})

    assert answer == (502, {"error": "Missing main/no code to execute."})


def test_an_environment_that_is_impossible_is_an_error(proxy: StartedProxy) -> None:
    if proxy.language == "python":
        assert proxy.init(OK, env={"A=B": "c"}).status == 502
    else:
        assert proxy.init(OK, env={"A=B": "c"}).status == 200  # Node.js doesn't mind


def test_an_action_is_initialised_once(proxy: StartedProxy) -> None:
    proxy.loaded(OK)

    assert proxy.init(OK) == (403, {"error": "Cannot initialize the action more than once."})
    assert proxy.run().status == 200


def test_after_a_failed_init_another_may_succeed(proxy: StartedProxy) -> None:
    assert proxy.init("(").status == 502

    assert proxy.init(OK).status == 200


def test_nothing_runs_before_init(proxy: StartedProxy) -> None:
    assert proxy.run() == (500, {"error": "Cannot invoke an uninitialized action."})


def test_what_a_function_raises_is_an_error_with_a_traceback_in_its_log(proxy: StartedProxy) -> None:
    code = {
        "python": "def main(args):\n    if args: return {}\n    raise ValueError('out of bounds')",
        "nodejs": "function main(args) {\n if (args.a) return {};\n  throw new RangeError('out of bounds'); }",
    }
    proxy.loaded(code)

    answer = proxy.run()

    kind = {"python": "ValueError", "nodejs": "RangeError"}[proxy.language]
    assert answer == (502, {"error": f"An error has occurred (see logs for details): {kind}: out of bounds"})
    log = proxy.stderr.activation()
    assert f"{kind}: out of bounds" in log
    assert "main" in log
    assert ":3:" in log or "raise ValueError('out of bounds')" in log
    assert {"python": "python.py", "nodejs": "node_modules"}[proxy.language] not in log
    assert proxy.stdout.activation() == ""
    assert proxy.run({"a": 1}) == (200, {})  # the proxy is none the worse


def test_what_is_raised_needs_no_sense(proxy: StartedProxy) -> None:
    code = {
        "python": """
class Mute(Exception):
    def __str__(self): raise RuntimeError
def main(args): raise Mute
""",
        "nodejs": "function main() { throw { toString() { throw 1; } }; }",
    }
    proxy.loaded(code)

    assert proxy.run().status == 502


@pytest.mark.parametrize("language", ["python"])
def test_a_python_coroutine_that_raises_is_an_error(proxy: StartedProxy) -> None:
    proxy.loaded("async def main(args): raise KeyError('key')")

    assert proxy.run() == (502, {"error": "An error has occurred (see logs for details): KeyError: 'key'"})


@pytest.mark.parametrize("language", ["nodejs"])
@pytest.mark.parametrize(
    ("rejected", "error"),
    [
        ("{ done: true }", {"done": True}),
        ("'some text'", "some text"),
        ("new TypeError('bad')", {"name": "TypeError", "message": "bad"}),
        ("Object.assign(new Error('bad'), { code: 7 })", {"name": "Error", "message": "bad", "code": 7}),
        ("undefined", {}),
    ],
)
def test_a_promise_that_is_rejected_is_an_answer(proxy: StartedProxy, rejected: str, error: object) -> None:
    proxy.loaded(f"async function main() {{ throw {rejected}; }}")

    assert proxy.run() == (200, {"error": error})


@pytest.mark.parametrize(
    "result",
    [
        {"python": "'text'", "nodejs": "'text'"},
        {"python": "42", "nodejs": "42"},
        {"python": "True", "nodejs": "true"},
        {"python": "main", "nodejs": "main"},
        {"python": "{'a': {1, 2}}", "nodejs": "{ a: 1n }"},
        {"python": "{'a': float('nan')}", "nodejs": "new Date()"},
        {"python": "[float('inf')]", "nodejs": "{ toJSON() {} }"},
        {"python": "{b'a': 1}", "nodejs": "Symbol()"},
        {"python": "circle", "nodejs": "circle"},
    ],
    ids=lambda result: result["python"],
)
def test_a_result_that_is_no_json_object_or_array_is_an_error(proxy: StartedProxy, result: dict[str, str]) -> None:
    code = {
        "python": f"circle = []\ncircle.append(circle)\ndef main(args): return {result['python']}",
        "nodejs": f"const circle = []; circle.push(circle);\nfunction main() {{ return ({result['nodejs']}); }}",
    }
    proxy.loaded(code)

    assert proxy.run() == (502, {"error": "The action did not return a dictionary or array."})
    assert proxy.stdout.activation() == ""


def test_endless_recursion_is_an_error(proxy: StartedProxy) -> None:
    code = {"python": "def main(args): return main(args)", "nodejs": "function main(args) { return main(args); }"}
    proxy.loaded(code)

    assert proxy.run().status == 502
    assert proxy.run().status == 502
