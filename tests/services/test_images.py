"""The images that run Python and Node.js actions, on each engine and under each policy for file systems."""

import json
from pathlib import Path

import pytest

from invoker.wire import manifest
from tests.plugins.runtime_process.proxies.proxy import packed
from tests.services.containers import FILE_SYSTEMS, Answer, Logs, Place, container, engine_command
from tests.services.images import Images

EXAMPLE = Path(__file__).parents[2] / "examples" / "docker"
LANGUAGES = pytest.mark.parametrize("language", ["python", "nodejs"])
POLICIES = pytest.mark.parametrize("policy", FILE_SYSTEMS)

HELLO = {
    "python": """
import os, sys
def main(args):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return {"hello": args.get("name"), "env": os.environ["MINE"], "id": os.environ["__OW_ACTIVATION_ID"]}
""",
    "nodejs": """
function main(args) {
  console.log("to stdout");
  console.error("to stderr");
  return { hello: args.name, env: process.env.MINE, id: process.env.__OW_ACTIVATION_ID };
}
""",
}
PROJECTS = {
    "python": {
        "__main__.py": "import lib\ndef main(args): return {'got': [lib.A, open('a.txt').read()]}",
        "lib.py": "A = 1",
        "a.txt": "text",
    },
    "nodejs": {
        "package.json": '{"main": "app.js"}',
        "app.js": """
const fs = require("fs");
exports.main = () => ({ got: [require("./lib").A, fs.readFileSync("a.txt", "utf8")] });
""",
        "lib.js": "exports.A = 1;",
        "a.txt": "text",
    },
}
USER = {
    "python": """
import getpass, os, pathlib
def main(args):
    (pathlib.Path.home() / "mine").write_text("kept")
    with open("/tmp/program", "w") as program: program.write("#!/bin/sh\\necho ran")
    os.chmod("/tmp/program", 0o700)
    return {"name": getpass.getuser(), "id": os.getuid(), "cwd": os.getcwd(), "ran": os.popen("/tmp/program").read()}
""",
    "nodejs": """
const fs = require("fs"), os = require("os");
function main() {
  fs.writeFileSync(os.homedir() + "/mine", "kept");
  fs.writeFileSync("/tmp/program", "#!/bin/sh\\necho ran", { mode: 0o700 });
  const { username: name, uid: id } = os.userInfo();
  return { name, id, cwd: process.cwd(), ran: require("child_process").execSync("/tmp/program").toString() };
}
""",
}
ORDINARY = {
    "python": """
import asyncio, bz2, ctypes, decimal, hashlib, json, lzma, multiprocessing, sqlite3, ssl, unicodedata, urllib.request
import xml.etree.ElementTree, zlib, zoneinfo
def main(args):
    sqlite3.connect(":memory:").execute("select 1")
    zoneinfo.ZoneInfo("Europe/Berlin")
    return {"trusted": len(ssl.create_default_context().get_ca_certs()) > 50, "text": ascii("Grüße")}
""",
    "nodejs": """
require("crypto"), require("http2"), require("worker_threads"), require("zlib");
function main() {
  new Intl.DateTimeFormat("de", { timeZone: "Europe/Berlin" }).format(new Date(0));
  return { trusted: require("tls").rootCertificates.length > 50, text: "Gr\\\\xfc\\\\xdfe" };
}
""",
}
ORPHANS = {
    "python": """
import pathlib, subprocess
def state(process):
    try: return (process / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError: return "gone"
def main(args):
    if args.get("leave"):
        subprocess.run(["sh", "-c", "for i in 1 2 3 4 5; do sleep 0 & done"], check=True)
    states = [state(process) for process in pathlib.Path("/proc").glob("[0-9]*")]
    return {"zombies": states.count("Z"), "first": pathlib.Path("/proc/1/comm").read_text().strip()}
""",
    "nodejs": """
const fs = require("fs");
function state(pid) {
  try { return fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").pop()[0]; } catch { return "gone"; }
}
function main(args) {
  if (args.leave) require("child_process").execSync("for i in 1 2 3 4 5; do sleep 0 & done");
  const states = fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).map(state);
  return { zombies: states.filter((one) => one === "Z").length, first: fs.readFileSync("/proc/1/comm", "utf8").trim() };
}
""",
}
LEAVES = {
    "python": "import os\ndef main(args): os._exit(3)",
    "nodejs": "function main() { process.exit(3); }",
}
VERSION = {
    "python": "import sys\ndef main(args): return {'kind': 'python:%d.%d' % sys.version_info[:2]}",
    "nodejs": "function main() { return { kind: 'nodejs:' + process.versions.node.split('.')[0] }; }",
}


def image_of(language: str, images: Images) -> str:
    return images.python if language == "python" else images.nodejs


@LANGUAGES
@POLICIES
async def test_an_activation_answers_and_its_logs_end_on_both_streams(
    place: Place, images: Images, language: str, policy: str
) -> None:
    async with container(place, image_of(language, images), *FILE_SYSTEMS[policy]) as running:
        initialised = await running.init(HELLO[language], env={"MINE": "set"})
        first = await running.run({"name": "Ada"}, activation_id="1")
        first_logs = await running.logs()
        second = await running.run({"name": "Bob"}, activation_id="2")
        second_logs = await running.logs()

    assert initialised == Answer(200, {"ok": True})
    assert first == Answer(200, {"hello": "Ada", "env": "set", "id": "1"})
    assert second == Answer(200, {"hello": "Bob", "env": "set", "id": "2"})
    assert first_logs == second_logs == Logs("to stdout\n", "to stderr\n")


@LANGUAGES
@POLICIES
async def test_an_archive_is_unpacked_where_it_can_be_written(
    place: Place, images: Images, language: str, policy: str
) -> None:
    async with container(place, image_of(language, images), *FILE_SYSTEMS[policy]) as running:
        result = await running.result(packed(PROJECTS[language]), binary=True)

    assert result == {"got": [1, "text"]}


@LANGUAGES
@POLICIES
async def test_functions_are_a_user_with_a_name_and_a_home_and_may_run_what_they_write(
    place: Place, images: Images, language: str, policy: str
) -> None:
    async with container(place, image_of(language, images), *FILE_SYSTEMS[policy]) as running:
        result = await running.result(USER[language])

    assert result == {"name": "action", "id": 10001, "cwd": "/tmp", "ran": "ran\n"}


@LANGUAGES
async def test_what_functions_ordinarily_need_is_there(place: Place, images: Images, language: str) -> None:
    async with container(place, image_of(language, images)) as running:
        result = await running.result(ORDINARY[language])

    assert result == {"trusted": True, "text": {"python": r"'Gr\xfc\xdfe'", "nodejs": r"Gr\xfc\xdfe"}[language]}


@LANGUAGES
async def test_processes_that_a_function_leaves_behind_are_reaped(place: Place, images: Images, language: str) -> None:
    async with container(place, image_of(language, images)) as running:
        first = await running.result(ORPHANS[language])
        for _ in range(20):  # 100 processes in all: more than the 64 that may be there at once
            assert (await running.run({"leave": True})).status == 200
        while (await running.run()).body["zombies"]:  # each look is an activation: the last ones take a moment
            pass

    assert first == {"zombies": 0, "first": "tini"}


@LANGUAGES
async def test_a_container_ends_when_it_is_asked_to(place: Place, images: Images, language: str) -> None:
    async with container(place, image_of(language, images)) as running:
        assert (await running.init(LEAVES[language])).status == 200
        await running.command("kill", "--signal", "TERM")

        assert await running.ended() == 143


@LANGUAGES
async def test_a_function_that_exits_ends_its_container(place: Place, images: Images, language: str) -> None:
    async with container(place, image_of(language, images)) as running:
        assert (await running.init(LEAVES[language])).status == 200
        with pytest.raises(ConnectionError):
            await running.run()

        assert await running.ended() == 3


@LANGUAGES
async def test_an_image_says_which_kind_it_runs(place: Place, images: Images, language: str) -> None:
    image = image_of(language, images)

    labels = await labels_of(place.engine, image)
    async with container(place, image) as running:
        result = await running.result(VERSION[language])

    assert result == {"kind": labels["functions-invoker.kind"]}
    assert labels["functions-invoker.default"] == labels["functions-invoker.sentinels"] == "true"


async def test_the_example_names_images_that_are_there(docker: str, docker_images: Images) -> None:
    runtimes = manifest.read((EXAMPLE / "runtimes.json").read_bytes())

    kinds = {runtime.kind: (await labels_of(docker, runtime.image))["functions-invoker.kind"] for runtime in runtimes}

    defaults = {runtimes.resolve(f"{family}:default") for family in ("python", "nodejs")}
    assert {runtime.kind for runtime in defaults if runtime} == set(kinds.values())
    assert await labels_of(docker, "functions-invoker/actionloop")
    assert runtimes.blackbox("functions-invoker/actionloop").sentinelled_logs


async def labels_of(engine: str, image: str) -> dict[str, str]:
    """Return what is written on an image."""
    said = await engine_command(engine, "image", "inspect", "--format", "{{json .Config.Labels}}", image)
    labels: dict[str, str] = json.loads(said)
    return labels
