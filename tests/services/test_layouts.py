"""Images laid out as OpenWhisk's own, which a runtime must not break: each depends on its working directory."""

import base64

from tests.plugins.runtime_process.proxies.proxy import packed
from tests.services.containers import FILE_SYSTEMS, Answer, Logs, Place, container
from tests.services.images import Images

PLACE = """
exports.main = () => ({ cwd: process.cwd(), uid: process.getuid(), collectable: typeof gc === "function" });
"""
PROGRAM = """#!/usr/bin/python3
import json, os, sys
print("started")
with open(3, "w") as results:
    for line in sys.stdin:
        activation = json.loads(line)
        if activation["value"].get("leave"):
            sys.exit(1)
        print("run", activation["activation_id"], flush=True)
        print("aside", file=sys.stderr, flush=True)
        answer = {"got": activation["value"], "mine": os.environ["MINE"], "at": os.path.realpath(sys.argv[0])}
        print(json.dumps(answer), file=results, flush=True)
"""


async def test_the_nodejs_layout_starts_and_unpacks_in_its_working_directory(place: Place, images: Images) -> None:
    async with container(place, images.layout_nodejs) as running:
        result = await running.result(packed({"index.js": PLACE}), binary=True)
        logs = await running.logs()

    assert result.pop("cwd").startswith("/nodejsAction/action-")
    assert result == {"uid": 0, "collectable": True}
    assert logs == Logs("", "")


async def test_the_nodejs_layout_needs_a_file_system_that_can_be_written(place: Place, images: Images) -> None:
    async with container(place, images.layout_nodejs, *FILE_SYSTEMS["strict"]) as running:
        answer = await running.init(packed({"index.js": PLACE}), binary=True)

    assert answer.status == 502
    assert "EROFS" in answer.body["error"]


async def test_an_actionloop_image_runs_a_program_that_it_wrote_beside_itself(place: Place, images: Images) -> None:
    async with container(place, images.actionloop) as running:
        initialised = await running.init(PROGRAM, env={"MINE": "set"})
        first = await running.run({"a": "ü\n"}, activation_id="1")
        first_logs = await running.logs()
        second = await running.run({}, activation_id="2")
        second_logs = await running.logs()

    found: dict[str, object] = {"mine": "set", "at": "/action/1/bin/exec"}
    assert initialised == Answer(200, {"ok": True})
    assert first == Answer(200, {"got": {"a": "ü\n"}} | found)
    assert second == Answer(200, {"got": {}} | found)
    assert first_logs == Logs("started\nrun 1\n", "aside\n")
    assert second_logs == Logs("run 2\n", "aside\n")


async def test_an_actionloop_program_may_come_in_an_archive_or_as_bytes(place: Place, images: Images) -> None:
    for code in (packed({"exec": PROGRAM, "data": "x"}), base64.b64encode(PROGRAM.encode()).decode()):
        async with container(place, images.actionloop) as running:
            assert (await running.init(code, binary=True, env={"MINE": "set"})).status == 200
            assert (await running.run({"a": 1}, activation_id="1")).body["got"] == {"a": 1}


async def test_an_actionloop_program_that_ends_has_no_result_but_logs(place: Place, images: Images) -> None:
    async with container(place, images.actionloop) as running:
        assert (await running.init(PROGRAM, env={"MINE": "set"})).status == 200
        answer = await running.run({"leave": True})
        logs = await running.logs()

    assert answer == Answer(502, {"error": "The action ended without a result."})
    assert logs == Logs("started\n", "")


async def test_an_actionloop_image_refuses_what_is_no_program(place: Place, images: Images) -> None:
    async with container(place, images.actionloop) as running:
        answer = await running.init("just text")

    assert answer.status == 502
    assert "neither an ELF binary nor a script" in answer.body["error"]
