"""Settings and plugins that are wrong: each fault is named, with what to do, and nobody sees a traceback."""

import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.distributions import distribution, search_path
from tests.end_to_end.program import Called, Home

SECRET = "hunter2-and-more"
KEY = "AAECAwQFBgcICQoLDA0ODw=="


def call_with(home: Home, places: list[Path], *arguments: str) -> Called:
    """Run a command in an environment where further distributions are installed."""
    return home.call(*arguments, PYTHONPATH=search_path(home, *places))


def failed(called: Called, code: int, complaint: str) -> None:
    assert called.code == code, called
    assert complaint in called.errors
    assert "Traceback" not in called.errors
    assert called.output == ""


@pytest.mark.parametrize("command", [["run"], ["config", "validate"], ["invoke", "hello"], ["action", "list"]])
@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("pool.memry=1 GB", "pool.memry: there is no such setting; did you mean pool.memory? (from the command line)"),
        (
            "runtime=dockr",
            (
                "runtime: no plugin named 'dockr' is installed; "
                "installed are: attached, docker, firewall, http, process, sqlite. Did you mean 'docker'?"
            ),
        ),
    ],
)
def test_every_command_names_a_wrong_setting(home: Home, command: list[str], setting: str, complaint: str) -> None:
    failed(home.call("--set", setting, *command), 2, complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "pool.memory=lots"], "pool.memory: expected a size such as '256 MB', got 'lots'"),
        (["--set", "pool.memory"], "the command line: setting number 1 is not of the form section.field=value"),
        (["--set", "pol.memory=1"], "pol: there is no such section, in the core or in a plugin; did you mean pool?"),
        (["--set", "limits.max_memory=-1"], "limits.max_memory: expected a whole number of at least 1, got '-1'"),
        (["--set", "compat=openwisk"], "compat: expected one of 'openwhisk', 'functions', got 'openwisk'"),
        (["--set", "http.bind=nowhere"], "bind: expected an address such as '127.0.0.1:8080' or '[::1]:8080'"),
        (["--set", "recording.first_retry=9"], "recording: first_retry must not exceed last_retry"),
        (["--config", "nofile.toml"], "nofile.toml: there is no such file"),
        (["--secrets", "nofile.toml"], "nofile.toml: there is no such file"),
        (["--config", "broken.toml"], "broken.toml, line 1, column 6: Expected ']' at the end of a table declaration"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(home: Home, arguments: list[str], complaint: str) -> None:
    (home.folder / "broken.toml").write_text("[pool\nmemory = 1")

    failed(home.call(*arguments, "config", "validate"), 2, complaint)


def test_all_faults_are_told_at_once(home: Home) -> None:
    called = home.call(
        "--set", "pool.memory=lots", "--set", "node.id=x", "--set", "intake.queue=1", "config", "validate"
    )

    failed(called, 2, "pool.memory: ")
    assert "node.id: " in called.errors
    assert "intake.queue: " in called.errors
    assert called.errors.count("error: ") == 3


def test_a_wrong_variable_is_named_as_such(home: Home) -> None:
    called = home.call("config", "validate", INVOKER_POOL__MEMRY="1 GB")

    failed(
        called,
        2,
        "pool.memry: there is no such setting; did you mean INVOKER_POOL__MEMORY? (from INVOKER_POOL__MEMRY)",
    )


def test_what_kubernetes_says_of_a_service_is_no_setting(home: Home) -> None:
    called = home.call("config", "validate", INVOKER_SERVICE_HOST="10.0.0.1", INVOKER_PORT="tcp://10.0.0.1:80")

    assert called.code == 0, called


@pytest.mark.parametrize("command", [["run"], ["check"], ["config", "validate"]])
def test_a_manifest_that_is_not_there_is_named_by_those_who_need_it(home: Home, command: list[str]) -> None:
    called = home.call("--set", "runtimes.manifest=nofile.json", *command)

    failed(called, 2, "runtimes.manifest: can't read nofile.json: No such file or directory")


def test_an_address_that_is_taken_is_named(own_home: Home) -> None:
    with own_home.running() as program:
        taken = f"{program.data.host}:{program.data.port}"

        failed(
            own_home.call("--set", f"http.bind={taken}", "--set", "node.unique_name=other", "run"),
            2,
            f"http.bind: can't listen on {taken}",
        )


def test_an_unguarded_listener_for_everybody_is_refused(home: Home) -> None:
    failed(home.call("--set", "http.bind=0.0.0.0:0", "run"), 2, "http.allow_anonymous")


def test_a_state_directory_that_cannot_be_made_is_named(home: Home) -> None:
    called = home.call("--set", "node.state_dir=/dev/null/state", "run")

    assert called.code in (1, 2)
    assert "/dev/null/state" in called.errors
    assert "Traceback" not in called.errors


def test_a_misspelt_hook_is_an_error(own_home: Home) -> None:
    code = "from invoker import hookimpl\n@hookimpl\ndef open_activation_stor(settings): ..."
    place = distribution(own_home.folder, "misspelt", "misspelt = misspelt", misspelt=code)

    failed(call_with(own_home, [place], "--set", 'extra=["misspelt"]', "run"), 1, "'open_activation_stor'")
    listed = call_with(own_home, [place], "plugins", "--all", "--json")
    (row,) = (row for row in listed.json if row["name"] == "misspelt")
    assert "'open_activation_stor'" in row["failure"]


def test_a_plugin_that_cannot_be_imported_says_why(own_home: Home) -> None:
    place = distribution(own_home.folder, "broken", "broken = broken", broken="import no_such_module")

    called = call_with(own_home, [place], "--set", 'extra=["broken"]', "run")

    failed(called, 2, "extra: plugin 'broken' can't be loaded: the Python module 'no_such_module' is not installed")


REFUSES = """
import sys

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name == "aiodocker":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuses())
"""


@pytest.mark.parametrize("command", [["run"], ["check"], ["invoke", "hello"], ["reap"]])
def test_a_client_library_that_is_not_installed_is_named_with_the_extra_that_brings_it(
    own_home: Home, command: list[str]
) -> None:
    (own_home.folder / "sitecustomize.py").write_text(REFUSES)

    called = call_with(own_home, [own_home.folder], "--set", "runtime=docker", *command)

    assert (
        "runtime: plugin 'docker' can't be loaded: the Python module 'aiodocker' is not installed: "
        "pip install 'functions-invoker[docker]', or name another plugin in runtime"
    ) in " ".join(f"{called.output} {called.errors}".split())
    assert called.code == (1 if command == ["check"] else 2)
    assert "Traceback" not in called.errors


def test_a_plugin_that_nobody_named_is_not_imported(own_home: Home) -> None:
    place = distribution(own_home.folder, "broken", "broken = broken", broken="raise SystemExit('imported')")

    called = call_with(own_home, [place], "plugins", "--json")

    assert [row["hooks"] for row in called.json if row["name"] == "broken"] == [[]]


def test_two_distributions_that_claim_one_name_are_an_error(own_home: Home) -> None:
    places = [distribution(own_home.folder, name, "same = module", module="") for name in ("one", "two")]
    (places[1] / "two-1.0.dist-info" / "entry_points.txt").write_text("[invoker.plugins]\nsame = other\n")

    called = call_with(own_home, places, "run")

    failed(called, 1, "the plugin name 'same' is claimed by one and by two: uninstall one of them")


def test_a_plugin_for_the_wrong_role_is_named(own_home: Home) -> None:
    failed(
        own_home.call("--set", "runtime=sqlite", "run"),
        2,
        "the role 'runtime' needs exactly one plugin that implements open_container_runtime, found: none",
    )


def test_a_plugin_that_gives_no_store_is_named_with_what_it_lacks(own_home: Home) -> None:
    code = (
        "from contextlib import asynccontextmanager\nfrom invoker import hookimpl\n@hookimpl\n@asynccontextmanager\n"
        "async def open_activation_store(settings):\n    yield object()"
    )
    place = distribution(own_home.folder, "nostore", "nostore = nostore", nostore=code)

    called = call_with(own_home, [place], "--set", "activations=nostore", "run")

    failed(called, 1, "plugin 'nostore' gave no ActivationStore: it lacks faults, metrics, put_many")


def test_a_store_that_cannot_be_read_says_what_to_use_instead(own_home: Home) -> None:
    code = (
        "from contextlib import asynccontextmanager\nfrom invoker import hookimpl\n"
        "from invoker.contracts import ActivationStore\nclass Sink(ActivationStore):\n"
        "    async def put_many(self, batch): ...\n@hookimpl\n@asynccontextmanager\n"
        "async def open_activation_store(settings):\n    yield Sink()"
    )
    place = distribution(own_home.folder, "sink", "sink = sink", sink=code)

    called = call_with(own_home, [place], "--set", "activations=sink", "activation", "list")

    failed(called, 2, "the store 'sink' (role 'activations') has no reader")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["action", "put", "x", "nofile.py"], 2, "'nofile.py' does not exist"),
        (["action", "get", "nobody"], 1, "no action 'guest/nobody'"),
        (["action", "delete", "nobody"], 1, "no action 'guest/nobody'"),
        (["message", "nobody"], 1, "no action 'guest/nobody'"),
        (["activation", "get", "nothing"], 1, "there is no activation nothing in namespace guest"),
        (["activation", "logs"], 2, "say which activation, or --follow"),
        (["activation", "logs", "x", "--follow"], 2, "say which activation, or --follow"),
        (["activation", "list", "--limit", "0"], 2, "0 is not in the range x>=1"),
    ],
)
def test_wrong_use_is_named(home: Home, arguments: list[str], code: int, complaint: str) -> None:
    failed(home.call(*arguments), code, complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--kind", "cobol:74"], "nothing here runs kind 'cobol:74'; kinds: "),
        (["--kind", "blackbox"], "an action of kind 'blackbox' needs an image"),
        (["--memory", "513"], "memory size 513 MB exceeds allowed threshold of 512 MB"),
        (["--timeout", "99"], "duration 99 milliseconds below allowed threshold of 100 milliseconds"),
        (["--logs", "11"], "log size 11 MB exceeds allowed threshold of 10 MB"),
        (["--namespace", "../x"], "its path is no path of well-formed names"),
    ],
)
def test_what_can_not_run_is_not_put(own_home: Home, arguments: list[str], complaint: str) -> None:
    (own_home.folder / "hello.py").write_text("def main(args): return {}")

    called = own_home.call("action", "put", "hello", "hello.py", *arguments)

    failed(called, 2, complaint)
    assert own_home.call("action", "list", "--json").json == []


def test_a_name_that_leads_elsewhere_is_not_put(own_home: Home) -> None:
    (own_home.folder / "hello.py").write_text("def main(args): return {}")

    failed(own_home.call("action", "put", "../x", "hello.py"), 2, "'../x': its path is no path of well-formed names")


def test_kinds_of_a_manifest_can_be_put_whatever_runs_here(own_home: Home) -> None:
    (own_home.folder / "hello.py").write_text("def main(args): return {}")
    kind = {"kind": "python:9", "image": {"name": "python"}, "default": True}
    (own_home.folder / "kinds.json").write_text(json.dumps({"runtimes": {"python": [kind]}}))
    manifest = [
        "--set",
        "runtimes.manifest=kinds.json",
        "--set",
        "runtime=docker",
        "action",
        "put",
        "hello",
        "hello.py",
    ]

    assert own_home.call(*manifest, "--kind", "python:9").code == 0
    failed(own_home.call(*manifest, "--kind", "python:3"), 2, "nothing here runs kind 'python:3'; kinds: python:9")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["pool.memory=lots"], "pool.memory: expected a size such as '256 MB', got 'lots' (from the command line)"),
        (["telemetry.format=json", "http.bind=0.0.0.0:0"], "http.bind: 0.0.0.0:0 can be reached from other machines"),
        (["runtime=sqlite"], "the role 'runtime' needs exactly one plugin"),
    ],
)
def test_a_start_that_fails_is_told_like_all_else_in_the_log(home: Home, settings: list[str], complaint: str) -> None:
    called = home.call(*(word for one in settings for word in ("--set", one)), "run")

    *_, last = [json.loads(line) for line in called.errors.splitlines()]
    assert called.code == 2
    assert last.keys() == {"@timestamp", "level", "logger", "message"}
    assert (last["level"], last["logger"]) == ("error", "invoker")
    assert last["message"].startswith(complaint)


def test_a_start_that_fails_is_told_in_text_where_the_log_is(home: Home) -> None:
    called = home.call("--set", "telemetry.format=text", "--set", "http.bind=0.0.0.0:0", "run")

    assert called.errors.splitlines()[-1].startswith("error: http.bind: 0.0.0.0:0 can be reached")


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "hello.py", "--param", "i=?"],
        ["action", "list", "--namespace", "?"],
        ["activation", "get", "?"],
        ["pool", "--url", "http://?"],
        ["run", "--?"],
    ],
)
def test_bytes_that_are_no_text_are_named(home: Home, arguments: list[str], locale: str) -> None:
    words = [os.fsdecode(word.encode().replace(b"?", b"\xff")) for word in arguments]

    failed(home.call(*words, LC_ALL=locale), 2, "is no text: arguments must be UTF-8")


def test_a_settings_file_is_made_and_valid_and_never_overwritten(own_home: Home) -> None:
    made = own_home.call("config", "init")
    text = (own_home.folder / "invoker.toml").read_text()
    again = own_home.call("config", "init")
    elsewhere = own_home.call("config", "init", "/dev/null/invoker.toml")

    assert made.code == 0, made
    assert own_home.call("config", "validate").output == "the settings are valid\n"
    failed(again, 1, "invoker.toml is there already; move it away, or name another file")
    failed(elsewhere, 1, "can't write /dev/null/invoker.toml: Not a directory")
    assert (own_home.folder / "invoker.toml").read_text() == text


def test_every_value_is_explained(own_home: Home) -> None:
    (own_home.folder / "invoker.toml").write_text('[pool]\nmemory = "3 GB"\n[node]\nid = 7\n')

    explained = own_home.call("--set", "node.id=8", "config", "explain", "--json", INVOKER_LOGS__TIMEOUT="1 s").json

    origins = {each["key"]: (each["value"], each["origin"]) for each in explained["values"]}
    assert explained["files"] == [str(own_home.folder / "invoker.toml")]
    assert origins["pool.memory"][0] == "3 GB"
    assert "invoker.toml" in origins["pool.memory"][1]
    assert origins["node.id"] == ("8", "command line")
    assert origins["logs.timeout"] == ("1 s", "environment INVOKER_LOGS__TIMEOUT")
    assert origins["compat"] == ("openwhisk", "default")


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["explain"], ["explain", "--json"], ["validate"]])
def test_secrets_are_never_shown(home: Home, command: list[str]) -> None:
    secrets = home.folder / "secrets.toml"
    secrets.write_text(f'[http]\nusername = "me"\npassword = "{SECRET}"\n[encryption.keys]\naes-128 = "{KEY}"\n')

    called = home.call("--secrets", secrets, "config", *command)

    assert called.code == 0, called
    assert SECRET not in called.output + called.errors
    assert KEY not in called.output + called.errors
    if command != ["validate"]:
        assert "***" in called.output


@pytest.mark.parametrize("command", [["run"], ["check"], ["config", "validate"]])
def test_a_key_that_is_none_is_named_without_being_shown(home: Home, command: list[str]) -> None:
    secrets = home.folder / "wrong.toml"
    secrets.write_text(f'[encryption.keys]\naes-128 = "{SECRET}"\n')

    called = home.call("--secrets", secrets, *command)

    failed(called, 2, "encryption.keys.aes-128")
    assert SECRET not in called.errors
