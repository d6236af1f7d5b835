"""The messages of spec 1.8 as a controller sends them over HTTP, and what it is told (spec 2.2, 12.5)."""

import json
from collections.abc import Iterator

import pytest

from tests.end_to_end.caller import connected
from tests.end_to_end.functions import nodejs, python
from tests.end_to_end.meeting import PYTHON, meeting
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running, annotations_of
from tests.specification import BLOCKING, COMPONENT, HEALTH, KEY_128, KEY_256, SEALED_128, SEALED_256

ECHO = "def main(args): return args"
RESIZE = """
import os

def main(args):
    print("resized to", args["width"])
    context = {name: text for name, text in os.environ.items() if name.startswith("__OW_") or name == "LOG_LEVEL"}
    return {"args": args, "context": context}
"""
SUM = "def main(numbers): return [sum(one for one in numbers if isinstance(one, int)), numbers[-1]]"
WAITER = f"""{PYTHON}
def main(args):
    visit(args["port"]).recv(1)
    return {{"waited": True}}
"""
ECHO_OF_NODEJS = "function main(params) { return params; }"
TRANSACTION = "kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4"
API_KEY = "7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:QmFzZTY0LXNlY3JldC1vZi1zaXh0eS1mb3VyLWNoYXJhY3RlcnMtZXhhY3RseSEh"

SECRETS = f"""
[encryption.keys]
aes-128 = "{KEY_128}"
aes-256 = "{KEY_256}"
"""


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("resize", RESIZE, path="acme/tools", version="0.0.7"),
        python("sum", SUM, path="zoe"),
        python("wait", WAITER),
        python("echo", ECHO),
        nodejs("invokerHealthTestAction0", ECHO_OF_NODEJS, path="whisk.system"),
    )
    secrets = home.folder / "secrets.toml"
    secrets.write_text(SECRETS)
    with home.running("node.id=3", "node.unique_name=node-b", INVOKER_SECRETS=str(secrets)) as running:
        yield running


async def test_the_header_comes_before_the_function_ends_and_the_body_after(program: Running) -> None:
    async with meeting() as place, connected(program.data) as caller:
        await caller.send("POST", "/invoke", message("wait", {"port": place.port}))

        visitor = await place.visitor()  # the function runs, and goes on running until it is let go
        head = await caller.head()
        running = await program.info()
        await visitor.let_go()
        acknowledgement = json.loads(await caller.body())

    assert head.status == 200
    assert head.headers["content-type"] == "application/json"
    assert running["containers"]["busy"] == 1
    assert acknowledgement["response"]["response"]["result"] == {"waited": True}


async def test_a_blocking_call_is_answered_with_the_whole_record(program: Running) -> None:
    acknowledgement = await program.invoke(BLOCKING)

    assert acknowledgement["transid"] == [TRANSACTION, 1790000000123]
    assert acknowledgement["isSystemError"] is False
    record = acknowledgement["response"]
    told = ("namespace", "name", "version", "subject", "activationId", "logs", "publish")
    assert {key: record[key] for key in told} == {
        "namespace": "zoe",
        "name": "resize",
        "version": "0.0.7",
        "subject": "zoe-subject",
        "activationId": "3f2a9c5d7e1b48068a4d2c6e90b1f735",
        "logs": [],  # that controller reads them from the store
        "publish": False,
    }
    assert record["duration"] == record["end"] - record["start"]
    assert record["response"]["statusCode"] == 0
    assert "cause" not in record


async def test_acknowledgements_say_who_sends_them_in_both_spellings(program: Running) -> None:
    acknowledgement = await program.invoke(message("echo"))

    assert acknowledgement["instance"] == {
        "instance": 3,
        "userMemory": "2147483648 B",
        "instanceType": "invoker",
        "tags": [],
        "dedicatedNamespaces": [],
        "uniqueName": "node-b",
    }
    assert acknowledgement["invoker"] == {"instance": 3, "userMemory": "0 g"}


async def test_locked_parameters_are_opened_and_init_parameters_are_in_the_environment(program: Running) -> None:
    acknowledgement = await program.invoke(BLOCKING.replace(b"3f2a9c5d", b"3f2a9c5e"))

    result = acknowledgement["response"]["response"]["result"]
    assert result["args"] == {"width": 640, "token": "s3cr3t"}
    deadline = result["context"].pop("__OW_DEADLINE")
    assert deadline.isdecimal()
    assert result["context"] == {
        "LOG_LEVEL": "debug",
        "__OW_API_KEY": API_KEY,
        "__OW_NAMESPACE": "zoe",
        "__OW_ACTION_NAME": "/acme/tools/resize",
        "__OW_ACTION_VERSION": "0.0.7",
        "__OW_ACTIVATION_ID": "3f2a9c5e7e1b48068a4d2c6e90b1f735",
        "__OW_TRANSACTION_ID": TRANSACTION,
    }


async def test_the_stored_record_has_logs_and_says_how_it_went(program: Running) -> None:
    await program.invoke(BLOCKING.replace(b"3f2a9c5d", b"3f2a9c5f"))

    record = await program.home.record("3f2a9c5f7e1b48068a4d2c6e90b1f735", "zoe")
    assert record["_id"] == "zoe/3f2a9c5f7e1b48068a4d2c6e90b1f735"
    assert [line[39:] for line in record["logs"]] == ["resized to 640"]
    assert record["logs"][0][30:39] == " stdout: "
    annotations = annotations_of(record)
    assert annotations["path"] == "acme/tools/resize"
    assert annotations["binding"] == "zoe/mytools"
    assert annotations["timeout"] is False
    assert annotations["kind"].startswith("python:")
    assert annotations["limits"] == {"timeout": 60_000, "memory": 128, "logs": 10, "concurrency": 1}


async def test_another_key_opens_what_was_locked_with_it(program: Running) -> None:
    content = {"object": SEALED_256, "number": 7}

    acknowledgement = await program.invoke(message("echo", content, lockedArgs={"object": "aes-256"}))

    assert acknowledgement["response"]["response"]["result"] == {"object": {"n": 1}, "number": 7}


async def test_an_array_goes_in_and_an_array_comes_out(program: Running) -> None:
    acknowledgement = await program.invoke(COMPONENT)

    record = acknowledgement["response"]
    assert record["response"]["result"] == [3, {"n": 3}]
    assert record["cause"] == "11112222333344445555666677778888"
    assert annotations_of(record)["causedBy"] == "sequence"


async def test_the_transaction_is_echoed_byte_for_byte(program: Running) -> None:
    async with connected(program.data) as caller:
        await caller.send("POST", "/invoke", COMPONENT.replace(b"9b8c7d6e", b"9b8c7d6f"))
        await caller.head()
        body = await caller.body()

    transid = COMPONENT[COMPONENT.index(b'"transid":') : COMPONENT.index(b',\n "action"')]
    assert transid in body


async def test_the_health_test_action_gets_a_completion_that_frees_its_slot(program: Running, node: str) -> None:
    acknowledgement = await program.invoke(HEALTH)

    assert acknowledgement["transid"] == ["sid_invokerHealth", 1789999000000]
    assert acknowledgement["isSystemError"] is False
    assert acknowledgement["response"] == "c0ffee00c0ffee00c0ffee00c0ffee00"
    assert acknowledgement["instance"]["instance"] == 3
    record = await program.home.record("c0ffee00c0ffee00c0ffee00c0ffee00", "whisk.system")
    assert record["response"]["statusCode"] == 0
    assert record["response"]["result"] == {}


async def test_a_non_blocking_call_is_answered_with_its_id_and_recorded_whole(program: Running) -> None:
    sent = message("echo", {"a": 1}, blocking=False)

    acknowledgement = await program.invoke(sent)

    activation_id = json.loads(sent)["activationId"]
    assert acknowledgement["response"] == activation_id
    record = await program.home.record(activation_id)
    assert record["response"]["result"] == {"a": 1}


async def test_a_caller_that_leaves_loses_its_answer_and_nothing_else(program: Running) -> None:
    async with meeting() as place:
        sent = message("wait", {"port": place.port})
        async with connected(program.data) as caller:
            await caller.send("POST", "/invoke", sent)
            visitor = await place.visitor()
        await visitor.let_go()

        record = await program.home.record(json.loads(sent)["activationId"])

    assert record["response"]["result"] == {"waited": True}


async def test_a_caller_who_asks_not_to_be_recorded_is_not(program: Running) -> None:
    sent = json.loads(message("echo"))
    sent["user"]["limits"] = {"storeActivations": False}
    marker = message("echo")

    await program.invoke(json.dumps(sent).encode())
    await program.invoke(marker)

    await program.home.record(json.loads(marker)["activationId"])  # records are kept in the order of their answers
    assert sent["activationId"] not in await program.home.recorded()


async def test_what_a_caller_says_in_headers_is_logged(program: Running) -> None:
    sent = message("echo")

    async with connected(program.data) as caller:
        await caller.ask("POST", "/invoke", sent, Functions_Function="echo", Functions_Account="somebody")

    line = program.log.of_activation(json.loads(sent)["activationId"])
    assert line["context"] == {"Functions-Function": "echo", "Functions-Account": "somebody"}
    assert line["activationStatus"] == "success"
    assert line["invokedVia"] == "http"


async def test_a_parameter_that_no_key_opens_is_a_developer_error_without_a_container(program: Running) -> None:
    containers = await program.idle_containers()
    damaged = SEALED_128[:-8] + "AAAAAAA="

    acknowledgement = await program.invoke(message("echo", {"token": damaged}, lockedArgs={"token": "aes-128"}))

    response = acknowledgement["response"]["response"]
    assert response["statusCode"] == 2
    assert response["result"] == {"error": "Parameter token could not be decrypted."}
    record = await program.home.record(acknowledgement["response"]["activationId"])
    assert record["response"]["result"] == {"error": "Parameter token could not be decrypted."}
    assert await program.idle_containers() == containers


async def test_a_wrong_key_is_a_developer_error_too(own_home: Home) -> None:
    own_home.put(python("echo", ECHO))
    secrets = own_home.folder / "secrets.toml"
    secrets.write_text(SECRETS.replace(KEY_128, "AAAAAAAAAAAAAAAAAAAAAA=="))

    with own_home.running(INVOKER_SECRETS=str(secrets)) as program:
        acknowledgement = await program.invoke(message("echo", {"token": SEALED_128}, lockedArgs={"token": "aes-128"}))

        assert acknowledgement["response"]["response"] == {
            "statusCode": 2,
            "result": {"error": "Parameter token could not be decrypted."},
        }
        assert await program.idle_containers() == 0
        assert SEALED_128 not in program.log.text()
