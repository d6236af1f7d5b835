"""The section `[docker]`: what is right by default, and what is told apart before anything is started."""

from pathlib import Path
from typing import Any

import pytest

from invoker.cli.configuration import template
from invoker.config import Seconds
from invoker.config.layers import Layers
from invoker.errors import SettingsError
from invoker_docker.settings import SECTION, DockerSettings, EngineAddress


def read(tmp_path: Path, toml: str) -> DockerSettings:
    """Read a section as an operator writes it."""
    file = tmp_path / "invoker.toml"
    file.write_text(f"[docker]\n{toml}\n", encoding="utf-8")
    return Layers.read([file], environ={}).settings([SECTION])[DockerSettings]


def test_the_section_is_called_like_the_plugin() -> None:
    assert SECTION.name == "docker"
    assert SECTION.into is DockerSettings


def test_without_settings_user_images_are_pulled_each_time_and_others_when_missing() -> None:
    settings = DockerSettings()

    assert (settings.pull, settings.pull_user_images) == ("missing", "always")
    assert settings.images_allowed is None
    assert settings.file_system == "image"


def test_the_engine_of_the_environment_is_not_used_behind_ones_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")

    assert DockerSettings().address == EngineAddress(path="/var/run/docker.sock")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("unix:///run/user/1000/podman/podman.sock", EngineAddress(path="/run/user/1000/podman/podman.sock")),
        ("tcp://engine.example.org", EngineAddress(host="engine.example.org", port=2375)),
        ("tcp://10.0.0.1:4243", EngineAddress(host="10.0.0.1", port=4243)),
        ("tcp://[::1]:4243", EngineAddress(host="::1", port=4243)),
    ],
)
def test_an_engine_is_at_a_socket_or_a_port(url: str, address: EngineAddress) -> None:
    assert DockerSettings(url=url).address == address


def test_an_encrypted_engine_has_a_port_of_its_own() -> None:
    assert DockerSettings(url="tcp://engine", tls_ca=Path("ca.pem")).address.port == 2376


@pytest.mark.parametrize(
    "url",
    ["", "/var/run/docker.sock", "unix://docker.sock", "http://engine", "ssh://engine", "tcp://", "tcp://a:99999"],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"url: expected 'unix:///var/run/docker.sock' or 'tcp://host:2376'"):
        DockerSettings(url=url)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"url": "tcp://a", "tls_cert": Path("c")}, "tls_cert and tls_key belong together"),
        ({"url": "tcp://a", "tls_key": Path("k")}, "tls_cert and tls_key belong together"),
        ({"tls_ca": Path("ca")}, "a Unix socket isn't encrypted"),
        ({"network": "host"}, "network: 'host' can't be used: actions would share the machine's own network"),
        ({"network": "none"}, "network: 'none' can't be used: actions would have no address"),
        ({"network": "default"}, "network: 'default' can't be used"),
        ({"network": "container:other"}, "network: expected letters"),
        ({"bridge": "a-name-of-16-ones"}, "bridge: expected at most 15"),
        ({"bridge": "docker0"}, "bridge: 'docker0' is the engine's own"),
        ({"bridge": "br/0"}, "bridge: expected at most 15"),
        ({"dns": ("10.0.0.53", "notanip")}, "dns: expected an address such as '10.0.0.53', got 'notanip'"),
        ({"dns": ("fe80::1%eth0",)}, "dns: expected an address"),
        ({"labels": {"a b": ""}}, "labels: expected a name"),
        ({"labels": {"functions-invoker.boot": "1"}}, "is reserved"),
        ({"labels": {"com.docker.compose.project": "1"}}, "is reserved"),
        ({"environment": {"A=B": ""}}, "environment: 'A=B' is no name of a variable"),
        ({"environment": {"": "x"}}, "environment: '' is no name of a variable"),
        ({"environment": {"A": "x\0"}}, "environment: the value of A has a zero byte"),
        ({"writable": ("data",)}, "writable: expected an absolute path"),
        ({"writable": ("/tmp",)}, "writable: expected an absolute path, not /tmp"),
        ({"writable": ("/var/../etc",)}, "writable: expected an absolute path"),
        ({"writable": ("/a:ro",)}, "writable: expected an absolute path"),
        ({"writable": ("/a", "/a")}, "writable: a path is there twice"),
        ({"images_allowed": ("",)}, "'' is no pattern"),
        ({"images_allowed": ("team/{a,b}",)}, "'team/{a,b}' is no pattern"),
        ({"file_systems": {"team/ app": "strict"}}, "'team/ app' is no pattern"),
    ],
)
def test_what_can_not_work_is_told(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault.replace("(", r"\(")):
        DockerSettings(**fields)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"bridge.*") as raised:
        DockerSettings(network="none", bridge="", writable=("x",))

    assert str(raised.value).count("; ") == 2


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ({"Image": "other"}, "extra: Image can't be replaced: it is the action's"),
        ({"image": "other"}, "extra: image can't be replaced"),
        ({"Name": "mine"}, "extra: Name can't be replaced"),
        ({"HostConfig": 3}, "extra: HostConfig: expected a table"),
        ({"hostconfig": {"Privileged": True}}, "extra: hostconfig is spelled HostConfig"),
        ({"HostConfig": {"memoryswap": -1}}, "extra: HostConfig.memoryswap can't be replaced: the pool counts"),
        ({"Labels": {"a": "b"}}, "extra: Labels can't be replaced: set docker.labels"),
        ({"NetworkingConfig": {}}, "extra: NetworkingConfig can't be replaced: set docker.network"),
        ({"HostConfig": {"NetworkMode": "host"}}, "HostConfig.NetworkMode can't be replaced: set docker.network"),
        ({"HostConfig": {"Runtime": "runsc"}}, "HostConfig.Runtime can't be replaced: set docker.oci_runtime"),
        ({"HostConfig": {"Memory": 1}}, "HostConfig.Memory can't be replaced: it is the action's limit"),
        *(
            ({key: value}, f"extra: {key} can't be replaced: ")
            for key, value in {"Tty": True, "NetworkDisabled": True}.items()
        ),
        *(
            ({"HostConfig": {key: value}}, f"extra: HostConfig.{key} can't be replaced: ")
            for key, value in {
                "OomKillDisable": True,
                "AutoRemove": True,
                "RestartPolicy": {"Name": "always"},
                "Privileged": True,
                "PidMode": "host",
                "IpcMode": "host",
            }.items()
        ),
        ({"StopTimeout": float("inf")}, "extra: has a value that JSON can't have"),
    ],
)
def test_extra_can_not_undo_what_the_invoker_lives_by(extra: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        DockerSettings(extra=extra)


def test_extra_takes_whatever_else_there_is_unchecked() -> None:
    host = {"OomScoreAdj": 500, "Sysctls": {"net.core.somaxconn": "1024"}, "PidsLimit": "the engine says"}
    extra = {"StopSignal": "SIGKILL", "HostConfig": host, "ComesWithTheNextVersion": 1}

    assert DockerSettings(extra=extra).extra == extra


def test_a_whole_section_is_read_from_a_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
        url = "tcp://engine:2376"
        tls_ca = "/etc/ca.pem"
        images_allowed = ["team/*"]
        file_systems = { "functions-invoker/*" = "strict" }
        labels = { "org.example.rack" = "7" }
        environment = { TZ = "UTC" }
        cpus = 3.5
        pull_timeout = "2 min"
        [docker.extra.HostConfig]
        OomScoreAdj = 500
        """,
    )

    assert settings.images_allowed == ("team/*",)
    assert settings.file_systems == {"functions-invoker/*": "strict"}
    assert settings.labels == {"org.example.rack": "7"}
    assert settings.pull_timeout == Seconds(120)
    assert settings.extra == {"HostConfig": {"OomScoreAdj": 500}}


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ('network = "host"', "docker: network: 'host' can't be used"),
        ("extra = { StopTimeout = 2026-01-01 }", "docker: extra: has a value that JSON can't have"),
        ("extra = 3", "docker.extra: expected a table"),
        ('file_systems = { "a/*" = "open" }', r'docker.file_systems."a/\*": expected one of'),
        ("cpus = 0", "docker.cpus: expected a number above 0"),
        ("pids = 0", "docker.pids: expected a whole number of at least 1"),
        ("pids = 1000000000", "docker.pids: expected a whole number .*4194304"),
    ],
)
def test_the_place_of_a_fault_is_told(tmp_path: Path, toml: str, fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        read(tmp_path, toml)


def test_every_setting_is_explained() -> None:
    assert "#docker" not in template([SECTION])
    assert '#network = "functions-invoker"' in template([SECTION])
