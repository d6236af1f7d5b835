"""What the plugin's README says is so."""

import asyncio
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from invoker.config import Secret, Settings
from invoker.config.layers import Layers
from invoker.errors import SettingsError
from invoker.pool import PoolSnapshot, StartReason, WaitReason
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker.wire.request import parse
from invoker_http.settings import SECTION, HttpSettings, TlsSettings
from invoker_http.transport import opened
from tests.plugins.transport_http.caller import http

README = (Path(__file__).parents[3] / "plugins/transport_http/README.md").read_text()
SETTINGS, *_ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
MESSAGE, *_ = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^curl .*$", README, re.MULTILINE)


POOL, *_ = re.findall(r"^```\n(\{\"memory\".*?)```", README, re.DOTALL | re.MULTILINE)
STARTS, WAITS = (
    re.findall(r"^\| `([\w ]+)` \| \w", README.partition(f"reason{title} |")[2].partition("\n\n")[0], re.MULTILINE)
    for title in ("` of a start", " of a wait")
)


def read(text: str, folder: Path, **environ: str) -> HttpSettings:
    path = folder / "invoker.toml"
    path.write_text(text)
    return Layers.read([path], environ=environ).settings([SECTION])[HttpSettings]


def test_the_settings_are_settings(tmp_path: Path) -> None:
    settings = read(SETTINGS, tmp_path)

    shown = tomllib.loads(SETTINGS)["http"]
    assert shown.keys() == {field.name for field in msgspec.structs.fields(HttpSettings)}
    defaults = msgspec.structs.replace(settings, tls=TlsSettings(), username=None, password=None, max_connections=None)
    assert defaults == HttpSettings()


def test_the_password_may_come_from_the_environment(tmp_path: Path) -> None:
    settings = read('[http]\nusername = "controller"\n', tmp_path, INVOKER_HTTP__PASSWORD="123")

    assert settings.password == Secret("123")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('bind = "here"', "http: bind: expected an address such as"),
        ('admin = "here"', "http: admin: expected an address such as"),
        ('tls = { key = "x" }', "http.tls: certificate and key belong together"),
        ('username = "me"', "http: username and password belong together"),
        ('keep_alive = "0 s"', "http.keep_alive: expected a duration longer than 0"),
    ],
)
def test_a_wrong_setting_is_named(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"[http]\n{line}\n", tmp_path)

    (found,) = caught.value.faults
    assert found.startswith(fault)


def test_the_pool_is_a_pool() -> None:
    view = msgspec.json.decode(POOL, type=PoolSnapshot)

    assert msgspec.json.decode(msgspec.json.encode(view)) == msgspec.json.decode(POOL)


def test_every_reason_of_a_start_is_explained() -> None:
    assert [reason.value for reason in StartReason] == STARTS


def test_every_reason_of_a_wait_is_explained() -> None:
    view = msgspec.json.decode(POOL, type=PoolSnapshot)

    assert [reason.value for reason in WaitReason] == WAITS == list(view.waits)


def test_the_message_is_a_message() -> None:
    request = parse(MESSAGE.encode())

    assert (request.blocking, request.function.name) == (True, "hello")


@pytest.mark.parametrize("command", [each for each in COMMANDS if "https:" not in each])
async def test_the_commands_work(command: str, tmp_path: Path, curl_program: str) -> None:
    (tmp_path / "message.json").write_text(MESSAGE)
    settings = http(admin="127.0.0.1:0", username="controller", password=Secret("secret"))

    async with opened(Settings.of(settings), FakeIntake(), FakeOperations()) as transport:
        assert transport.operators_url is not None
        line = command.replace("http://127.0.0.1:8080", transport.url).replace(
            "http://127.0.0.1:8081", transport.operators_url
        )
        curl = await asyncio.create_subprocess_exec(
            curl_program,
            *line.replace("--user controller", "--user controller:secret").split()[1:],
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        out, _ = await curl.communicate()

    if "/readyz" in command:
        assert out == b"ready"
    elif "--user" in command:
        assert out.startswith(b"HTTP/1.1 200 OK")
    else:
        assert out.startswith(b"HTTP/1.1 401 Unauthorized")
