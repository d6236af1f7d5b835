"""Where the transport listens, and when it refuses to."""

import logging
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from invoker.config import Secret, Settings
from invoker.errors import SettingsError
from invoker.testing.intake import FakeIntake
from invoker.testing.operations import FakeOperations
from invoker_http import settings_section
from invoker_http.address import SocketAddress
from invoker_http.settings import HttpSettings, TlsSettings
from invoker_http.transport import HttpTransport, exposure, opened
from tests.plugins.transport_http.caller import calling, get, http
from tests.plugins.transport_http.certificates import Certificates


def starting(settings: HttpSettings) -> AbstractAsyncContextManager[HttpTransport]:
    return opened(Settings.of(settings), FakeIntake(), FakeOperations())


async def refusal(settings: HttpSettings) -> list[str]:
    """Open the transport, which must refuse; return why."""
    with pytest.raises(SettingsError) as caught:
        async with starting(settings):
            pass
    return list(caught.value.faults)


async def test_it_logs_where_it_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "invoker.http"):
        async with starting(http(admin="127.0.0.1:0")) as transport:
            urls = [record.__dict__["url"] for record in caplog.records if "url" in record.__dict__]
            for url in urls:
                async with calling(url) as caller:
                    assert (await caller.ask(get("/ping"))).body == b"pong"

    assert urls == [transport.operators_url, transport.url]
    assert [record.getMessage() for record in caplog.records] == [
        f"listening for operators on {urls[0]}",
        f"listening for messages on {urls[1]}",
        f"try: invoker message hello --param name=Ada | curl --data-binary @- {urls[1]}/invoke",
    ]
    assert all(url.startswith("http://127.0.0.1:") and not url.endswith(":0") for url in urls)


def test_its_section_is_named_like_it() -> None:
    assert settings_section().name == "http"
    assert settings_section().into is HttpSettings


def test_both_listeners_are_on_loopback_by_default() -> None:
    assert (HttpSettings().bind, HttpSettings().admin) == ("127.0.0.1:8080", "127.0.0.1:8081")


@pytest.mark.parametrize(
    ("admin", "url"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        (":9", "http://127.0.0.1:9"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::]:9", "http://[::1]:9"),
        ("node-b:9", "http://node-b:9"),
        ("", None),
    ],
)
def test_the_command_line_finds_operators_by_the_settings(admin: str, url: str | None) -> None:
    assert http(admin=admin).operators_url == url


@pytest.mark.parametrize("bind", ["[::1]:0", "localhost:0"])
async def test_ipv6_and_names_will_do(bind: str) -> None:
    async with starting(http(bind=bind)) as transport, calling(transport.url) as caller:
        got = await caller.ask(get("/ping"))

    assert got.body == b"pong"
    assert transport.url.startswith(f"http://{bind.removesuffix('0')}")


async def test_an_address_of_several_places_has_one_port_on_all() -> None:
    got = []

    async with starting(http(bind=":0", allow_anonymous=True)) as transport:
        port = transport.url.rsplit(":", 1)[1]
        for host in ("127.0.0.1", "[::1]"):
            async with calling(f"http://{host}:{port}") as caller:
                got.append((await caller.ask(get("/ping"))).body)

    assert got == [b"pong", b"pong"]


async def test_tls_shows_in_the_url(certificates: Certificates) -> None:
    async with starting(http(tls=certificates.settings(ask_callers=False))) as transport:
        assert transport.url.startswith("https://127.0.0.1:")


@pytest.mark.parametrize("setting", ["bind", "admin"])
async def test_a_port_in_use_is_named_with_a_remedy(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        (fault,) = await refusal(http(**{setting: address}))

    assert fault == (
        f"http.{setting}: can't listen on {address}: address already in use: "
        f"stop the other program, or set http.{setting} to another port"
    )


async def test_an_address_of_another_machine_is_named() -> None:
    (fault,) = await refusal(http(bind="192.0.2.1:0", allow_anonymous=True))

    assert fault.startswith("http.bind: can't listen on 192.0.2.1:0: it is no address of this machine")


async def test_a_name_that_nobody_has_is_named() -> None:
    (fault,) = await refusal(http(bind="nobody.invalid:0"))

    assert fault.startswith("http.bind: the host 'nobody.invalid' has no address")


# --- who could reach it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", ":0", "[::ffff:10.0.0.1]:0"])
async def test_a_data_listener_that_others_can_reach_needs_protection(bind: str) -> None:
    (fault,) = await refusal(http(bind=bind))

    assert fault.startswith(f"http.bind: {bind} can be reached from other machines")
    assert all(each in fault for each in ("http.tls.client_ca", "http.username", "127.0.0.1", "http.allow_anonymous"))


async def test_an_admin_listener_that_others_can_reach_must_be_meant() -> None:
    faults = await refusal(http(bind="0.0.0.0:0", admin="0.0.0.0:0"))

    assert [fault.split(":")[0] for fault in faults] == ["http.bind", "http.admin"]


async def test_encryption_alone_keeps_nobody_out(certificates: Certificates) -> None:
    faults = await refusal(http(bind="0.0.0.0:0", tls=certificates.settings(ask_callers=False)))

    assert len(faults) == 1


async def test_what_is_allowed_of_one_listener_is_not_of_the_other() -> None:
    both = {"bind": "0.0.0.0:0", "admin": "0.0.0.0:0"}

    (data,) = await refusal(http(**both, allow_anonymous_admin=True))
    (admin,) = await refusal(http(**both, allow_anonymous=True))

    assert [data.split(":")[0], admin.split(":")[0]] == ["http.bind", "http.admin"]
    assert "allow_anonymous_admin = true" in admin


@pytest.mark.parametrize("protection", ["certificates", "password", "allow_anonymous"])
async def test_with_protection_others_may_reach_it(
    protection: str, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "certificates": {"tls": certificates.settings(ask_callers=True)},
        "password": {"username": "controller", "password": Secret("secret")},
        "allow_anonymous": {"allow_anonymous": True},
    }

    with caplog.at_level(logging.WARNING, "invoker.http"):
        async with starting(http(bind="0.0.0.0:0", **ways[protection])):
            pass

    warnings = [record.getMessage() for record in caplog.records]
    assert any("in the clear" in each for each in warnings) == (protection == "password")


@pytest.mark.parametrize(
    ("addresses", "count"),
    [
        (["127.0.0.1"], 0),
        (["127.3.2.1", "::1", "::ffff:127.0.0.1"], 0),
        (["127.0.0.1", "192.0.2.1"], 1),
        (["fe80::1%eth0"], 1),
    ],
)
def test_a_name_is_judged_by_all_its_addresses(addresses: list[str], count: int) -> None:
    places = [SocketAddress(0, (each, 8080)) for each in addresses]

    assert len(exposure(HttpSettings(), places, ())) == count


# --- files and fields ------------------------------------------------------------------------------------------------


async def test_files_that_are_no_use_are_named(certificates: Certificates, tmp_path: Path) -> None:
    absent, garbage = tmp_path / "absent.pem", tmp_path / "garbage.pem"
    garbage.write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
    server, key, authority = certificates.server, certificates.server_key, certificates.authority

    faults = [
        (await refusal(http(tls=TlsSettings(certificate=certificate, key=its_key, client_ca=callers))))[0]
        for certificate, its_key, callers in (
            (absent, key, None),
            (server, absent, None),
            (server, key, absent),
            (garbage, key, None),
            (server, certificates.caller_key, None),
            (server, certificates.locked_key, None),
            (server, key, garbage),
            (server, authority, None),
        )
    ]

    assert [fault.partition(": ")[0] for fault in faults] == [
        "http.tls.certificate",
        "http.tls.key",
        "http.tls.client_ca",
        "http.tls",
        "http.tls",
        "http.tls.key",
        "http.tls.client_ca",
        "http.tls",
    ]


@pytest.mark.parametrize(
    "bind", ["", "8080", "localhost", "::1:8080", "[::1]", "a b:1", "x:65536", "x:-1", "http://x:1", "x:\uff11"]
)
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as"):
        HttpSettings(bind=bind)


@pytest.mark.parametrize(
    "fields",
    [
        {"username": "me"},
        {"password": Secret("x")},
        {"username": "me", "password": Secret("")},
        {"username": "a:b", "password": Secret("x")},
        {"admin": "nowhere"},
    ],
)
def test_fields_that_do_not_fit_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"belong together|is empty|colon|expected an address"):
        HttpSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"certificate": Path("x")}, {"key": Path("x")}, {"client_ca": Path("x")}])
def test_half_of_a_certificate_is_refused(fields: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="certificate and key"):
        TlsSettings(**fields)
