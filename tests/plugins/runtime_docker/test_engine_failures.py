"""All the ways in which an engine can fail to answer, what it may answer, and what is told of it."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from invoker.config import Seconds
from invoker.errors import SettingsError
from invoker_docker.attach import AttachedOutput
from invoker_docker.engine import EngineClient, connected
from invoker_docker.failures import EngineDown, EngineError, answered
from invoker_docker.runtime import check_oci_runtime
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.stand_in import VERSION, cut, never, raw_stand_in, says, stand_in

Call = Callable[[EngineClient], Awaitable[object]]


CALLS: dict[str, tuple[str, Call]] = {
    "ping": ("GET /_ping", lambda engine: engine.ping()),
    "negotiate": ("GET /version", lambda engine: engine.negotiate()),
    "examine": ("GET /info", lambda engine: engine.examine()),
    "image_exists": ("GET /images/a:1/json", lambda engine: engine.image_exists("a:1")),
    "network": ("GET /networks/n", lambda engine: engine.network("n")),
    "podman_interface": ("GET /v4.0.0/libpod/networks/n/json", lambda engine: engine.podman_interface("n")),
    "create_network": ("POST /networks/create", lambda engine: engine.create_network({})),
    "create": ("POST /containers/create", lambda engine: engine.create("c", {})),
    "attach": ("POST /containers/c/attach", lambda engine: engine.attach("c", AttachedOutput("c", print, print))),
    "start": ("POST /containers/c/start", lambda engine: engine.start("c")),
    "inspect": ("GET /containers/c/json", lambda engine: engine.inspect("c")),
    "pause": ("POST /containers/c/pause", lambda engine: engine.pause("c")),
    "unpause": ("POST /containers/c/unpause", lambda engine: engine.unpause("c")),
    "remove": ("DELETE /containers/c", lambda engine: engine.remove("c")),
    "images": ("GET /images/json", lambda engine: engine.images("a")),
    "containers": ("GET /containers/json", lambda engine: engine.containers({"a": "b"})),
}


READING = [
    "negotiate",
    "examine",
    "image_exists",
    "network",
    "podman_interface",
    "create",
    "inspect",
    "containers",
    "images",
]
"""Those that read something out of the answer."""


HASTY: dict[str, Any] = dict.fromkeys(
    (
        *("create_timeout", "start_timeout", "inspect_timeout", "pause_timeout"),
        *("remove_timeout", "pull_timeout", "ping_timeout"),
    ),
    Seconds(0.3),
)


async def test_podman_is_told_from_docker() -> None:
    components = [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon"}]
    async with stand_in() as engine_there:
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            assert not engine.able.podman
        engine_there.answers["GET /version"] = says(VERSION | {"Components": components})
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            assert engine.able.podman


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"), [("1.41", "1.12", "v1.41"), ("1.52", "1.44", "v1.44"), ("1.47", None, "v1.41")]
)
async def test_the_oldest_api_that_both_know_is_spoken(newest: str, oldest: str | None, spoken: str) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /version"] = says({"ApiVersion": newest, "MinAPIVersion": oldest})
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            await engine.remove("c")

    assert engine_there.asked[0] == "GET /version"
    assert engine_there.asked[-1] == f"DELETE /{spoken}/containers/c?force=1&v=1"


async def test_an_engine_that_is_too_old_is_refused() -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /version"] = says(VERSION | {"ApiVersion": "1.40"})
        with pytest.raises(EngineError, match=r"its API is v1\.40, and must be v1\.41 or newer"):
            async with connected(DockerSettings(url=engine_there.url)):
                pass


async def test_no_call_has_a_time_limit_but_its_own() -> None:
    """aiohttp's would end a pull after five minutes."""
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        assert engine._docker.session.timeout == aiohttp.ClientTimeout()


@pytest.mark.parametrize("call", CALLS)
async def test_an_engine_that_hangs_is_down(call: str) -> None:
    path, ask = CALLS[call]
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url, **HASTY)) as engine:
        engine_there.answers[path] = never
        with pytest.raises(EngineDown, match=r"no answer within 0\.3 s"):
            await ask(engine)
        engine_there.answers[path] = says({})
        await engine.ping() if call != "ping" else await engine.negotiate()


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("negotiate", "ping")])
async def test_an_engine_that_says_no_is_not_down(call: str) -> None:
    path, ask = CALLS[call]
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers[path] = says({"message": "disk full"}, status=500)
        with pytest.raises(EngineError, match=r": disk full \(status 500\)$") as refused:
            await ask(engine)

    assert not isinstance(refused.value, EngineDown)
    assert refused.value.status == 500


@pytest.mark.parametrize("call", CALLS)
async def test_a_gateway_without_an_engine_behind_it_is_down(call: str) -> None:
    path, ask = CALLS[call]
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers[path] = says("Bad Gateway", status=502)
        with pytest.raises(EngineDown, match="Bad Gateway"):
            await ask(engine)


@pytest.mark.parametrize("call", READING)
@pytest.mark.parametrize("body", ["<html>", "", 3, [3]])
async def test_an_answer_that_makes_no_sense_is_none(call: str, body: Any) -> None:
    path, ask = CALLS[call]
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers[path] = says(body)
        with pytest.raises(EngineDown, match="no answer that makes sense"):
            await ask(engine)


@pytest.mark.parametrize("call", [*READING, "ping"])
async def test_an_answer_that_ends_too_early_is_none(call: str) -> None:
    path, ask = CALLS[call]
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers[path] = cut
        with pytest.raises(EngineDown):
            await ask(engine)


async def test_an_error_may_be_in_plain_words() -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["POST /containers/c/start"] = says("driver failed", status=500)
        with pytest.raises(EngineError, match=r"^start: driver failed \(status 500\)$"):
            await engine.start("c")


async def test_a_very_long_message_is_cut() -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["POST /containers/c/start"] = says({"message": "x" * 10_000}, status=500)
        with pytest.raises(EngineError) as refused:
            await engine.start("c")

    assert len(refused.value.message) < 600


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"])
async def test_what_does_not_speak_http_is_no_engine(reply: bytes) -> None:
    async with raw_stand_in(reply) as url:
        with pytest.raises(EngineDown):
            async with connected(DockerSettings(url=url)):
                pass


@pytest.mark.parametrize("url", ["unix:///nowhere/engine.sock", "tcp://127.0.0.1:1"])
async def test_where_nobody_listens_there_is_no_engine(url: str) -> None:
    with pytest.raises(EngineDown, match=r"^version: can't connect: (No such file|Connect)"):
        async with connected(DockerSettings(url=url)):
            pass


async def test_an_engine_can_come_back() -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["GET /_ping"] = cut
        with pytest.raises(EngineDown):
            await engine.ping()
        engine_there.answers["GET /_ping"] = says("OK")
        await engine.ping()


async def test_fifty_calls_wait_for_the_engine_and_not_for_each_other() -> None:
    asked, everybody = 0, asyncio.Event()

    async def together(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 150:
            everybody.set()
        await everybody.wait()
        return await says({"Id": "x"})(request)

    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["GET /containers/c/json"] = together
        found = await asyncio.gather(*(engine.inspect("c") for _ in range(150)))

    assert found == [{"Id": "x"}] * 150


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_is_cancelled_breaks_nothing(call: str) -> None:
    path, ask = CALLS[call]
    arrived, left = asyncio.Event(), asyncio.Event()

    async def waiting(request: web.Request) -> web.StreamResponse:
        arrived.set()
        try:
            return await never(request)
        finally:
            left.set()

    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers[path] = waiting
        task = asyncio.ensure_future(ask(engine))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left.wait()  # the engine sees that nobody waits any more
        engine_there.answers[path] = says("OK")
        assert not await engine.image_exists("b:1")


async def test_a_removal_that_somebody_else_has_begun_is_waited_for() -> None:
    refusals = [409, 409, 409, 404]

    async def busy(request: web.Request) -> web.StreamResponse:
        message = {"message": "removal of container c is already in progress"}
        return await says(message, status=refusals.pop(0))(request)

    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["DELETE /containers/c"] = busy
        await engine.remove("c")

    assert refusals == []


async def test_a_removal_that_is_never_over_is_given_up() -> None:
    settings = HASTY | {"inspect_timeout": Seconds(10)}
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url, **settings)) as engine:
        engine_there.answers["DELETE /containers/c"] = says({"message": "removal is already in progress"}, status=409)
        with pytest.raises(EngineDown, match="remove: no answer"):
            await engine.remove("c")


async def test_another_conflict_is_an_error() -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        engine_there.answers["DELETE /containers/c"] = says({"message": "others depend on it"}, status=409)
        with pytest.raises(EngineError, match="others depend on it"):
            await engine.remove("c")


@pytest.mark.parametrize("name", ["", "..", "../images/x", "a/b", "a?b", "a b", "a%2fb", "ä"])
async def test_no_name_leads_elsewhere(name: str) -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        before = list(engine_there.asked)
        for ask in (engine.inspect, engine.start, engine.pause, engine.unpause, engine.remove, engine.network):
            with pytest.raises(EngineError):
                await ask(name)
        with pytest.raises(EngineError):
            await engine.create(name, {})

    assert engine_there.asked == before


@pytest.mark.parametrize("image", ["", "..", "../containers/x", "a/../b", "A", "a b", "a?b:1", "a@b", "-a", "a//b"])
async def test_no_image_leads_elsewhere(image: str) -> None:
    async with stand_in() as engine_there, connected(DockerSettings(url=engine_there.url)) as engine:
        before = list(engine_there.asked)
        with pytest.raises(EngineError):
            await engine.image_exists(image)
        with pytest.raises(EngineError):
            await engine.pull(image)

    assert engine_there.asked == before


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOENT, r"No such file or directory \(start the engine, or set docker\.url\)"),
        (errno.ECONNREFUSED, r"Connection refused \(start the engine, or set docker\.url\)"),
        (
            errno.EACCES,
            r"Permission denied \(let the invoker's user use it, as members of the group docker may, or set",
        ),
        (errno.ENETUNREACH, "Network is unreachable$"),
    ],
)
async def test_an_engine_that_can_not_be_reached_is_told_with_the_way_out(number: int, way_out: str) -> None:
    refusal = aiohttp.ClientConnectorError(cast("Any", None), OSError(number, os.strerror(number)))

    with pytest.raises(EngineDown, match=f"^version: can't connect: {way_out}"):
        async with answered("version", 1):
            raise refusal


@pytest.mark.parametrize(
    ("there", "wanted", "lacks"),
    [
        ({"runc": {}, "runsc": {}}, "kata", True),
        ({"runc": {}, "runsc": {}}, "runsc", False),
        ({"runc": {}}, "io.containerd.kata.v2", False),  # Docker 23 takes shims that it doesn't list
        ({"runc": {}}, "/usr/bin/crun", False),  # podman takes a path
        (None, "kata", False),
        (["runc"], "kata", False),
        ({"runc": {}}, None, False),
    ],
)
async def test_an_oci_runtime_is_lacking_only_where_the_engine_tells(
    there: object, wanted: str | None, *, lacks: bool
) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /info"] = says({"Runtimes": there})
        settings = DockerSettings(url=engine_there.url, oci_runtime=wanted)
        async with connected(settings) as engine:
            refusal = pytest.raises(SettingsError, match=r"docker\.oci_runtime: the engine has no") if lacks else None
            with refusal or nullcontext():
                check_oci_runtime(engine, settings)
