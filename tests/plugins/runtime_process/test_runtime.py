"""What actions find when they run as child processes, and what they don't."""

import asyncio
import json
import logging
import os
import resource
import stat
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from invoker import Settings
from invoker.errors import SettingsError, StartFailed, Unreachable
from invoker.testing.containers import RecordedOutput
from invoker_process.runtime import process_runtime
from invoker_process.settings import ProcessSettings
from tests.plugins.runtime_process.actions import a_spec, descriptors_of, entries, loaded, run, supervisor_of, watching

Left = Callable[[], Awaitable[Collection[object]]]

SURROUNDINGS = """
import os, resource, sys

ENVIRONMENT = dict(os.environ)

def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True

def main(args):
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink("/proc/self/fd/" + name)
        except OSError:
            pass  # that of the listing
    return {
        "environment": ENVIRONMENT,
        "executable": sys.executable,
        "descriptors": descriptors,
        "packages": [name for name in ("msgspec", "invoker", "invoker_process", "pytest") if importable(name)],
        "directory": os.getcwd(),
        "mode": os.stat(os.environ["HOME"]).st_mode,
        "session": os.getsid(0) == os.getpid(),
        "umask": os.umask(0),
        "limits": {
            name: list(resource.getrlimit(getattr(resource, "RLIMIT_" + name))) for name in ("NOFILE", "CORE", "FSIZE")
        },
        "memory": resource.getrlimit(resource.RLIMIT_AS) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    }
"""

NODE = """
const environment = {...process.env}
function main() { return {environment, directory: process.cwd()} }
"""


def real_parent(program: str) -> str:
    return str(Path(program).resolve().parent)


async def test_the_environment_is_clean_and_whole(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    monkeypatch.setenv("INVOKER_COUCHDB__PASSWORD", "secret")
    given = {"__OW_API_HOST": "https://api.example.org:443", "__OW_ALLOW_CONCURRENT": "true"}
    async with process_runtime(settings) as runtime:
        found = await run(await loaded(runtime, SURROUNDINGS, environment=given))

    environment = found["environment"]
    assert {name: environment.pop(name) for name in given} == given
    assert set(environment) == {"PATH", "HOME", "TMPDIR", "LANG"}
    assert environment["LANG"] == "C.UTF-8"
    path = environment["PATH"].split(":")
    assert path[0] == str(Path(found["executable"]).parent)
    assert {real_parent(node), "/usr/local/bin", "/usr/bin", "/bin"} <= set(path)
    assert len(path) == len(set(path))


async def test_nothing_is_in_the_environment_that_nobody_gave(settings: Settings, node: str) -> None:
    assert node
    async with process_runtime(settings) as runtime:
        found = await run(await loaded(runtime, NODE, kind="nodejs:20"))

    assert set(found["environment"]) == {"PATH", "HOME", "TMPDIR", "LANG"}
    assert found["directory"] == found["environment"]["HOME"]


async def test_no_package_of_the_invoker_can_be_imported(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        found = await run(await loaded(runtime, SURROUNDINGS))

    assert found["packages"] == []


async def test_no_descriptor_of_the_invoker_is_inherited(settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003 (takes no keyword; careless programs do so)
        async with process_runtime(settings) as runtime:
            container = await loaded(runtime, SURROUNDINGS)
            descriptors = (await run(container))["descriptors"]

    kinds = {what.partition(":")[0] for what in descriptors.values()}
    assert kinds <= {"/dev/null", "pipe", "socket", "anon_inode"}, descriptors  # streams, and the proxy's own
    assert descriptors["1"] != descriptors["2"]
    assert len(descriptors) <= 12


async def test_each_container_has_a_private_directory_as_long_as_it_lives(settings: Settings, tmp_path: Path) -> None:
    async with process_runtime(settings) as runtime:
        containers = [await loaded(runtime, SURROUNDINGS, name=name) for name in ("wsk_1", "wsk_2")]
        first, second = [await run(container) for container in containers]
        directory = Path(first["directory"])

        assert first["environment"]["HOME"] == first["environment"]["TMPDIR"] == first["directory"]
        assert first["directory"] != second["directory"]
        assert directory.is_relative_to(tmp_path)
        assert stat.S_IMODE(first["mode"]) == 0o700
        (directory / "deep" / "er").mkdir(parents=True)
        (directory / "deep" / "er" / "file").write_text("left behind")
        await containers[0].remove()
        assert directory not in entries(directory.parent)


async def test_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = ProcessSettings(work_dir=tmp_path, open_files=100, file_size=ProcessSettings().file_size)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    async with process_runtime(Settings.of(settings)) as runtime:
        found = await run(await loaded(runtime, SURROUNDINGS))

    assert hard >= 100
    assert found["limits"] == {"NOFILE": [100, 100], "CORE": [0, 0], "FSIZE": [1 << 30, 1 << 30]}
    assert found["memory"], "Node.js doesn't live with a limited address space"
    assert found["session"]
    assert found["umask"] == 0o022


async def test_a_kind_that_the_machine_lacks_runs_with_what_it_has(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, "def main(args): return args", kind="python:3.9")

        assert await run(container, n=1) == {"n": 1}


async def test_another_language_is_refused_with_the_kinds_there_are(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        with pytest.raises(StartFailed, match=r"'swift:5\.1'.* python:3, python:3\.\d+"):
            await runtime.create(a_spec("wsk_1", "swift:5.1"), RecordedOutput())

        assert (await runtime.create(a_spec("wsk_1"), RecordedOutput())).name == "wsk_1"


async def test_an_interpreter_that_is_gone_meanwhile_is_a_failed_start(
    tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoker_process.runtime._ANSWER", FakeAnswer())
    async with process_runtime(Settings.of(ProcessSettings(work_dir=tmp_path))) as runtime:
        with pytest.raises(StartFailed, match="No such file"):
            await runtime.create(a_spec("wsk_1"), RecordedOutput())

        assert not await left()
        assert entries(tmp_path)


class FakeAnswer:
    """An interpreter's word for where it is, once it isn't there any more."""

    def fullmatch(self, _: str) -> dict[str, str]:
        return {"path": "/nowhere/python", "major": "3", "minor": "11"}


async def test_a_request_to_a_container_that_died_idle_is_not_sent(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, "import os\ndef main(args): return {'pid': os.getpid()}")
        pid = (await run(container))["pid"]
        with watching([pid]) as watch:
            os.kill(pid, 9)
            await watch.end()

        with pytest.raises(Unreachable):
            await container.post("/run", b"{}", timeout=10, limit=100)


async def test_what_is_held_for_a_container_is_given_back(settings: Settings) -> None:
    async with process_runtime(settings) as runtime:
        await (
            await loaded(runtime, "def main(args): return {}")
        ).remove()  # uvloop keeps one more with its first stream
        before = descriptors_of(os.getpid())
        supervisor_before = descriptors_of(supervisor_of(runtime))

        for number in range(5):
            container = await loaded(runtime, "def main(args): return {}", name=f"wsk_{number}")
            await run(container)
            await container.remove()

        assert descriptors_of(os.getpid()) == before
        assert descriptors_of(supervisor_of(runtime)) == supervisor_before


async def test_a_descriptor_too_few_is_a_failed_start(settings: Settings, left: Left) -> None:
    async with process_runtime(settings) as runtime:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_of(os.getpid()) + 3, before[1]))
        try:
            with pytest.raises(StartFailed, match="Too many open files"):
                await runtime.create(a_spec("wsk_1"), RecordedOutput())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

        assert not await left()
        assert (await runtime.create(a_spec("wsk_1"), RecordedOutput())).name == "wsk_1"


async def test_one_line_warns_that_nothing_is_isolated(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async with process_runtime(settings) as runtime:
        await loaded(runtime, "def main(args): return {}")

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "hostile" in warnings[0]


async def test_a_work_directory_that_can_not_be_used_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(SettingsError, match=r"process\.work_dir: .*file"):
        async with process_runtime(Settings.of(ProcessSettings(work_dir=file))):
            pass


async def test_results_come_back_as_they_were_sent(settings: Settings, node: str) -> None:
    assert node
    arguments = {"text": "héllo 🎈", "list": [1, 2.5, None, {"deep": True}]}
    async with process_runtime(settings) as runtime:
        python = await loaded(runtime, "def main(args): return args", name="wsk_1")
        nodejs = await loaded(runtime, "function main(args) { return args }", name="wsk_2", kind="nodejs:20")

        assert json.loads(json.dumps(arguments)) == await run(python, **arguments) == await run(nodejs, **arguments)


async def test_requests_at_one_time_have_connections_of_their_own(settings: Settings, node: str) -> None:
    assert node
    code = """
let first
function main(args) {
    return new Promise(resolve => {
        if (first === undefined) first = resolve
        else { first({turn: 1}); resolve({turn: 2}) }
    })
}
"""
    async with process_runtime(settings) as runtime:
        container = await loaded(runtime, code, kind="nodejs:20", environment={"__OW_ALLOW_CONCURRENT": "true"})

        turns = await asyncio.gather(run(container), run(container))

    assert sorted(turn["turn"] for turn in turns) == [1, 2]
