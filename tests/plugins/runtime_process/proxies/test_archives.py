"""Code that comes as a zip archive: what is found in it, and what is refused."""

import base64
import io
import zipfile
from pathlib import Path

import pytest

from tests.plugins.runtime_process.proxies.proxy import ProxyAnswer, StartedProxy, packed

LINK = 0o120777
MAIN = {
    "python": {"__main__.py": "def main(args): return {}"},
    "nodejs": {"index.js": "exports.main = () => ({});"},
}


def init(proxy: StartedProxy, archive: str, main: str = "main") -> ProxyAnswer:
    return proxy.init(archive, binary=True, main=main)


def refusal(proxy: StartedProxy, archive: str) -> str:
    """Initialise it with an archive that must be refused; return what is said about it."""
    answer = init(proxy, archive)
    assert answer.status == 502
    return str(answer.body["error"])


def test_an_archive_brings_its_own_modules_and_files(proxy: StartedProxy) -> None:
    archives = {
        "python": {
            "__main__.py": """
import lib, pkg.deep
def hello(args): return {"got": [lib.A, pkg.deep.B, open("a.txt").read()]}
""",
            "lib.py": "A = 1",
            "pkg/__init__.py": "",
            "pkg/deep.py": "B = 2",
            "a.txt": "text",
        },
        "nodejs": {
            "package.json": '{"main": "src/app.js"}',
            "src/app.js": """
const fs = require("fs");
exports.hello = () => ({ got: [require("../lib").A, require("dep"), fs.readFileSync("a.txt", "utf8")] });
""",
            "lib.js": "exports.A = 1;",
            "node_modules/dep/index.js": "module.exports = 2;",
            "a.txt": "text",
        },
    }

    assert init(proxy, packed(archives[proxy.language]), main="hello").status == 200
    assert proxy.run() == (200, {"got": [1, 2, "text"]})


@pytest.mark.parametrize("language", ["python"])
@pytest.mark.parametrize("version", ["python3.11", "python3.99"])
def test_a_python_archive_may_bring_a_virtual_environment(proxy: StartedProxy, version: str) -> None:
    archive = packed(
        {
            "__main__.py": "import dep\ndef main(args): return {'dep': dep.A}",
            f"virtualenv/lib/{version}/site-packages/dep/__init__.py": "A = 1",
            "virtualenv/bin/activate_this.py": "raise RuntimeError('not needed')",
        }
    )

    assert init(proxy, archive).status == 200
    assert proxy.run() == (200, {"dep": 1})


@pytest.mark.parametrize("language", ["nodejs"])
@pytest.mark.parametrize(
    "members",
    [
        {"package.json": '{"type": "module"}', "index.js": "export const main = async () => ({ ok: 1 });"},
        {
            "package.json": '{"main": "a.mjs"}',
            "a.mjs": "import './b.mjs'; export function main() { return { ok: 1 }; }",
        },
        {"package.json": '{"type": "module", "main": "a.cjs"}', "a.cjs": "exports.main = () => ({ ok: 1 });"},
    ],
    ids=["type", "mjs", "cjs"],
)
def test_a_javascript_archive_may_have_es_modules(proxy: StartedProxy, members: dict[str, str]) -> None:
    assert init(proxy, packed({**members, "b.mjs": ""})).status == 200
    assert proxy.run() == (200, {"ok": 1})


def test_executables_stay_executable(proxy: StartedProxy) -> None:
    archives = {
        "python": {
            "__main__.py": "import subprocess\ndef main(args): return {'said': subprocess.getoutput('./bin/tool')}",
        },
        "nodejs": {
            "index.js": """
const { execFileSync } = require("child_process");
exports.main = () => ({ said: execFileSync("./bin/tool").toString() });
""",
        },
    }
    archive = packed({**archives[proxy.language], "bin/tool": "#!/bin/sh\nprintf yes"}, {"bin/tool": 0o100755})

    assert init(proxy, archive).status == 200
    assert proxy.run() == (200, {"said": "yes"})


def test_a_link_may_lead_to_another_place_in_the_archive(proxy: StartedProxy) -> None:
    archives = {
        "python": {"__main__.py": "def main(args): return {'got': open('links/a').read()}"},
        "nodejs": {"index.js": "exports.main = () => ({ got: require('fs').readFileSync('links/a', 'utf8') });"},
    }
    members = {**archives[proxy.language], "deep/": "", "deep/a.txt": "text", "links/a": "../deep/a.txt"}

    assert init(proxy, packed(members, {"links/a": LINK})).status == 200
    assert proxy.run() == (200, {"got": "text"})


def test_folders_made_on_windows_are_folders(proxy: StartedProxy) -> None:
    archives = {
        "python": {"__main__.py": "import dep.a\ndef main(args): return {}", "dep\\a.py": ""},
        "nodejs": {"index.js": "require('./dep/a');\nexports.main = () => {};", "dep\\a.js": ""},
    }

    assert init(proxy, packed(archives[proxy.language])).status == 200


@pytest.mark.parametrize(
    "name",
    ["../slip", "a/../../slip", "/slip", "..\\slip", "a\\..\\..\\slip", "C:\\slip", "C:slip", "a/..", "//slip", ""],
)
def test_a_member_that_would_leave_the_folder_is_refused(proxy: StartedProxy, name: str) -> None:
    said = refusal(proxy, packed({**MAIN[proxy.language], name: "gotcha"}))

    assert "would leave its folder" in said
    assert list(proxy.directory.rglob("*slip*")) == []


@pytest.mark.parametrize(
    "links",
    [
        {"out": "/etc/passwd"},
        {"out": "../../.."},
        {"here": ".", "out": "here/.."},
        {"deep/here": "..", "out": "deep/here/.."},
        {"out": "nowhere"},
        {"a": "b", "b": "a"},
    ],
    ids=["absolute", "relative", "through another", "up through another", "dangling", "loop"],
)
def test_a_link_that_leads_out_or_nowhere_is_refused(proxy: StartedProxy, links: dict[str, str]) -> None:
    refusal(proxy, packed({**MAIN[proxy.language], **links}, dict.fromkeys(links, LINK)))


@pytest.mark.parametrize("link_first", [True, False])
def test_nothing_is_written_through_a_link(proxy: StartedProxy, tmp_path: Path, *, link_first: bool) -> None:
    (tmp_path / "outside").mkdir()
    members = [("link", str(tmp_path / "outside")), ("link/gotcha", "x")]
    ordered = dict(members if link_first else reversed(members))

    refusal(proxy, packed({**MAIN[proxy.language], **ordered}, {"link": LINK}))

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_member_that_comes_twice_is_refused(proxy: StartedProxy) -> None:
    buffer = io.BytesIO()
    [(name, text)] = MAIN[proxy.language].items()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
        archive.writestr(f"./{name}", text)

    assert "exists" in refusal(proxy, encoded(buffer)).lower()


def test_an_encrypted_member_is_refused(proxy: StartedProxy) -> None:
    data = bytearray(base64.b64decode(packed(MAIN[proxy.language])))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[data.index(b"PK\x03\x04") + 6] |= 1

    assert "encrypted" in refusal(proxy, encoded(data))


@pytest.mark.parametrize("megabytes", [64, 600])
def test_an_archive_that_would_become_much_larger_is_refused(proxy: StartedProxy, megabytes: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in MAIN[proxy.language].items():
            archive.writestr(name, text)
        with archive.open("zeros", "w") as member:
            for _ in range(megabytes):
                member.write(bytes(1 << 20))

    assert "too much" in refusal(proxy, encoded(buffer))
    assert list(proxy.directory.rglob("zeros")) == []


def test_a_member_that_is_larger_than_it_says_is_refused(proxy: StartedProxy) -> None:
    data = bytearray(base64.b64decode(packed({**MAIN[proxy.language], "zeros": bytes(64 << 20)})))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (1000).to_bytes(4, "little")

    refusal(proxy, encoded(data))

    assert all(one.stat().st_size <= 1000 for one in proxy.directory.rglob("zeros"))


def test_an_archive_of_too_many_members_is_refused(proxy: StartedProxy) -> None:
    archive = packed({**MAIN[proxy.language], **{f"{i}": "" for i in range(20_000)}})

    assert "20001 members" in refusal(proxy, archive)


@pytest.mark.parametrize(
    "archive",
    ["", "####", base64.b64encode(b"no archive").decode(), base64.b64encode(b"PK\x05\x06" + bytes(18)).decode(), "é"],
    ids=["nothing", "no base64", "no zip", "empty zip", "no ascii"],
)
def test_what_is_no_archive_is_refused(proxy: StartedProxy, archive: str) -> None:
    assert init(proxy, archive).status == 502


def test_a_damaged_archive_is_refused(proxy: StartedProxy) -> None:
    data = base64.b64decode(packed({**MAIN[proxy.language], "text": "some text " * 1000}))
    start = data.index(b"text", 30) + 4

    for damaged in (data[:-30], data[: start + 5] + bytes(20) + data[start + 25 :], data[100:]):
        refusal(proxy, encoded(damaged))


def test_an_archive_without_an_entry_point_is_refused(proxy: StartedProxy) -> None:
    said = refusal(proxy, packed({"other/__main__.py": "", "other/index.js": ""}))

    assert {"python": "__main__.py", "nodejs": "index.js"}[proxy.language] in said


def test_something_may_stand_before_an_archive(proxy: StartedProxy) -> None:
    assert init(proxy, encoded(b"#!/bin/sh\n" + base64.b64decode(packed(MAIN[proxy.language])))).status == 200


def encoded(data: bytes | bytearray | io.BytesIO) -> str:
    return base64.b64encode(data.getvalue() if isinstance(data, io.BytesIO) else data).decode()
