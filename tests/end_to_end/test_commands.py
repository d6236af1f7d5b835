"""The other commands: the store, records and their logs, messages for curl, and what is installed."""

import asyncio
import importlib.metadata
import json
from collections.abc import Iterator

import pytest

from tests.end_to_end.caller import ask
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running

COMMANDS = (
    "run",
    "invoke",
    "message",
    "action",
    "activation",
    "pool",
    "check",
    "reap",
    "plugins",
    "config",
    "version",
)

GREETS = """
def main(args):
    print("hello", args.get("name"))
    return {"greeting": f"Hello {args.get('name')}"}
"""


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(python("greets", GREETS), python("elsewhere", GREETS, path="acme/tools"))
    with home.running() as running:
        yield running


async def call(program: Running, *arguments: str) -> str:
    """Run a command beside the running invoker; return its output."""
    called = await asyncio.to_thread(program.home.call, *arguments)
    assert called.code == 0, called
    return called.output


def test_an_action_is_put_listed_shown_and_deleted(own_home: Home) -> None:
    (own_home.folder / "greets.py").write_text(GREETS)

    put = own_home.call("action", "put", "pack/greets", "greets.py", "--timeout", "500", "--memory", "128", "--json")
    listed = own_home.call("action", "list", "--json")
    shown = own_home.call("action", "get", "pack/greets", "--json")
    code = own_home.call("action", "get", "pack/greets", "--code")
    again = own_home.call("action", "put", "pack/greets", "greets.py", "--json")
    deleted = own_home.call("action", "delete", "pack/greets")
    gone = own_home.call("action", "get", "pack/greets")

    assert put.json["name"] == "guest/pack/greets"
    (facts,) = listed.json
    assert facts["limits"] == {"timeout": 500, "memory": 128, "logs": 10, "concurrency": 1}
    assert facts["revision"] == put.json["revision"]
    assert shown.json == {**facts, "code": GREETS}
    assert code.output == GREETS
    assert again.json["revision"] != put.json["revision"]
    assert deleted.output == "deleted guest/pack/greets\n"
    assert gone.code == 1
    assert gone.errors == "error: no action 'guest/pack/greets'\n"
    assert own_home.call("action", "list", "--json").json == []


def test_every_answer_can_be_had_for_programs(own_home: Home) -> None:
    (own_home.folder / "greets.py").write_text(GREETS)
    written = own_home.call("config", "init", "--json")
    valid = own_home.call("config", "validate", "--json")
    invalid = own_home.call("--set", "pool.memory=lots", "config", "validate", "--json")
    own_home.call("action", "put", "greets", "greets.py")
    deleted = own_home.call("action", "delete", "greets", "--json")

    assert written.json == {"written": "invoker.toml"}
    assert (valid.code, valid.json) == (0, {"valid": True, "warnings": []})
    assert (invalid.code, invalid.json["valid"], len(invalid.json["faults"])) == (2, False, 1)
    assert deleted.json == {"deleted": "guest/greets"}


async def test_an_action_that_is_put_beside_a_running_invoker_can_be_invoked(program: Running) -> None:
    (program.home.folder / "fresh.py").write_text("def main(args): return {'fresh': True}")

    await call(program, "action", "put", "fresh", "fresh.py")
    acknowledgement = await program.invoke(message("fresh"))
    await call(program, "action", "delete", "fresh")
    deleted = await program.invoke(message("fresh", revision=None))

    assert acknowledgement["response"]["response"]["result"] == {"fresh": True}
    assert deleted["response"]["response"]["result"] == {"error": "Action could not be found or may have been deleted."}


async def test_a_message_that_is_printed_can_be_sent_as_it_is(program: Running) -> None:
    printed = await call(program, "message", "greets", "--param", "name=Ada")

    answer = await ask(program.data, "POST", "/invoke", printed.encode())

    assert answer.status == 200
    assert answer.json["response"]["response"]["result"] == {"greeting": "Hello Ada"}


async def test_a_message_may_be_non_blocking_and_for_another_namespace(program: Running) -> None:
    printed = await call(program, "message", "/acme/tools/elsewhere", "--non-blocking", "--env", "A=b")

    sent = json.loads(printed)
    assert sent["action"] == {"path": "acme/tools", "name": "elsewhere", "version": "0.0.1"}
    assert sent["blocking"] is False
    assert sent["initArgs"] == ["A"]
    assert sent["user"]["namespace"]["name"] == "acme"


async def test_activations_are_listed_and_shown(program: Running) -> None:
    acknowledgement = await program.invoke(message("greets", {"name": "Ada"}, namespace="listed"))
    activation_id = acknowledgement["response"]["activationId"]
    await program.home.record(activation_id, "listed")

    listed = json.loads(await call(program, "activation", "list", "--namespace", "listed", "--json"))
    table = await call(program, "activation", "list", "--namespace", "listed")
    shown = json.loads(await call(program, "activation", "get", activation_id, "--namespace", "listed"))
    logs = await call(program, "activation", "logs", activation_id, "--namespace", "listed")

    assert [one["activationId"] for one in listed] == [activation_id]
    assert activation_id in table
    assert "success" in table
    assert "cold" in table
    assert shown["response"]["result"] == {"greeting": "Hello Ada"}
    assert shown["_id"] == f"listed/{activation_id}"
    assert logs.endswith(" stdout: hello Ada\n")


async def test_logs_can_be_followed(program: Running) -> None:
    follower = await program.home.begin("activation", "logs", "--follow", "--namespace", "followed", "--json")
    assert follower.stdout is not None
    first_line = asyncio.create_task(follower.stdout.readline())
    sent = []
    while not first_line.done():  # it follows from the moment on in which it is ready, which it doesn't say
        sent.append(await program.invoke(message("greets", {"name": "Ada"}, namespace="followed")))
        await asyncio.wait({first_line}, timeout=0.2)
    follower.terminate()
    _, errors = await follower.communicate()

    line = json.loads(await first_line)
    assert line["activationId"] in [each["response"]["activationId"] for each in sent]
    assert line["action"] == "guest/greets"
    assert [text[31:] for text in line["logs"]] == ["stdout: hello Ada"]
    assert b"Traceback" not in errors


async def test_each_part_is_checked_while_an_invoker_runs(program: Running) -> None:
    findings = json.loads(await call(program, "check", "--json"))

    assert [(each["part"], each["plugin"], each["ok"]) for each in findings] == [
        ("activations", "sqlite", True),
        ("functions", "sqlite", True),
        ("runtime", "process", True),
        ("logs", "attached", True),
        ("transports", "http", True),
    ]
    assert (await program.operator("/readyz")).status == 200


async def test_a_part_that_fails_is_named_and_the_others_are_checked_all_the_same(program: Running) -> None:
    taken = f"{program.data.host}:{program.data.port}"

    called = await asyncio.to_thread(
        program.home.call,
        *("--set", "node.id=1", "--set", f"http.bind={taken}", "--set", "sqlite.path=/dev/null/file", "check"),
    )

    assert called.code == 1
    assert called.output.count("FAILS") == 3
    assert "/dev/null/file: it can't be opened: see who owns it and its directory" in called.output
    assert taken in called.output
    assert "Traceback" not in called.errors


def test_plugins_are_listed_with_their_hooks(home: Home) -> None:
    rows = {row["name"]: row for row in home.call("plugins", "--json").json}

    assert {name for name, row in rows.items() if row["active"]} == {"attached", "http", "process", "sqlite"}
    assert rows["sqlite"]["hooks"] == ["open_activation_store", "open_function_store", "settings_section"]
    assert rows["http"]["distribution"] == "functions-invoker"


def test_the_version_is_told(home: Home) -> None:
    version = importlib.metadata.version("functions-invoker")

    assert home.call("version", "--json").json["version"] == version
    assert home.call("version").output.startswith(f"functions-invoker {version} ")


def test_help_is_there_for_every_command(home: Home) -> None:
    called = home.call("--help")

    assert called.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in called.output


def test_a_reader_that_leaves_early_is_no_error(home: Home) -> None:
    with home.start("config", "show") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()

    assert errors == b""
    assert process.returncode == 1
