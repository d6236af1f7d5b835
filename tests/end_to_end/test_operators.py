"""What operators ask: is it alive, may it be given work, what does it do (spec 12.3, 12.5, 12.7)."""

import importlib.metadata
from collections.abc import Iterator

import pytest

from tests.end_to_end.caller import Address, ask
from tests.end_to_end.functions import python
from tests.end_to_end.messages import message
from tests.end_to_end.program import Home, Running

NAMES = (
    "counter_invoker_activation_start_total",
    "histogram_invoker_activationInit_finish_seconds_bucket",
    "histogram_invoker_activationRun_finish_seconds_bucket",
    "histogram_invoker_collectLogs_finish_seconds_bucket",
    "histogram_activations_resultSize_counter_bytes_bucket",
    "histogram_activations_logsSize_counter_bytes_bucket",
    "counter_activations_status_counter_total",
    "counter_invoker_containerStart_counter_total",
    "counter_database_cacheHit_counter_total",
    "counter_database_cacheMiss_counter_total",
    "histogram_database_batchSize_counter_bucket",
    "gauge_http_connections",
    "counter_http_requests_refused_total",
)
"""Those of spec 12.7 that mean something without Docker, Kafka and CouchDB."""


STATES = ("starting", "prewarmed", "busy", "idle", "pausing", "paused", "resuming", "removing")


@pytest.fixture(scope="module")
def program(home: Home) -> Iterator[Running]:
    home.put(
        python("echo", "def main(args): print('hello'); return args"),
        python("fails", "def main(args): return {'error': 'no'}"),
    )
    with home.running("node.id=3", "node.unique_name=node-b", "pool.memory=512 MB") as running:
        yield running


async def test_both_listeners_answer_a_ping(program: Running) -> None:
    for address in (program.operators, program.data):
        answer = await ask(address, "GET", "/ping")

        assert (answer.status, answer.body) == (200, b"pong")


@pytest.mark.parametrize(("path", "text"), [("/livez", b"alive"), ("/readyz", b"ready")])
async def test_it_is_alive_and_ready(program: Running, path: str, text: bytes) -> None:
    answer = await program.operator(path)

    assert (answer.status, answer.body) == (200, text)


async def test_it_tells_who_it_is_and_what_it_runs_with(program: Running) -> None:
    await program.invoke(message("echo"))
    await program.idle_containers()

    info = await program.info()

    idle = info["containers"]["idle"]
    assert info == {
        "name": "invoker3/node-b",
        "process": program.process.pid,
        "version": importlib.metadata.version("functions-invoker"),
        "phase": "open",
        "compat": "openwhisk",
        "plugins": ["http", "process", "attached", "sqlite"],
        "memory": {"total": 512 << 20, "used": idle * (128 << 20)},
        "containers": {**dict.fromkeys(STATES, 0), "idle": idle},
        "waiting": 0,
    }
    assert idle >= 1


@pytest.mark.parametrize("name", NAMES)
async def test_metrics_have_the_names_that_dashboards_know(program: Running, name: str) -> None:
    metrics = await program.metrics()

    assert any(each == name or each.startswith(f"{name}{{") for each in metrics)


async def test_metrics_are_served_in_the_format_that_is_scraped(program: Running) -> None:
    answer = await program.operator("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE counter_invoker_activation_start_total counter" in answer.body
    assert b"_created" not in answer.body


async def test_metrics_count(program: Running) -> None:
    await program.invoke(message("echo"))
    before = await program.metrics()

    await program.invoke(message("echo", {"text": "x" * 600}))
    await program.invoke(message("fails"))

    after = await program.metrics()
    risen = {name: after[name] - before[name] for name in after if after[name] != before.get(name)}
    assert risen["counter_invoker_activation_start_total"] == 2
    assert risen['counter_activations_status_counter_total{status="success"}'] == 1
    assert risen['counter_activations_status_counter_total{status="application_error"}'] == 1
    assert risen['counter_invoker_containerStart_counter_total{containerState="warm"}'] == 1
    assert risen['counter_invoker_containerStart_counter_total{containerState="cold"}'] == 1
    assert risen["histogram_invoker_activationRun_finish_seconds_count"] == 2
    assert risen["histogram_invoker_activationInit_finish_seconds_count"] == 1
    assert risen['histogram_activations_resultSize_counter_bytes_bucket{le="512.0"}'] == 1
    assert risen['histogram_activations_resultSize_counter_bytes_bucket{le="1024.0"}'] == 2
    assert risen["counter_database_cacheMiss_counter_total"] == 1
    assert risen["counter_database_cacheHit_counter_total"] == 1


async def test_there_is_nothing_else(program: Running) -> None:
    answer = await program.operator("/secrets")

    assert answer.status == 404
    assert (await ask(program.operators, "POST", "/info")).status == 405
    assert (await ask(program.operators, "POST", "/invoke", message("echo"))).status == 404


async def test_every_activation_has_one_log_line(program: Running) -> None:
    acknowledgement = await program.invoke(message("fails", {"secret": "hunter2"}))

    line = program.log.of_activation(acknowledgement["response"]["activationId"])
    assert line["message"] == "invocation completed"
    assert line["activationStatus"] == "application_error"
    assert line["tid"] == acknowledgement["transid"][0]
    assert line["namespace"] == "guest"
    assert line["function"] == "guest/fails"
    assert "hunter2" not in program.log.text()


async def test_people_read_lines_of_text(own_home: Home) -> None:
    own_home.put(python("echo", "def main(args): return args"))
    with own_home.start("--set", "telemetry.format=text", "--set", "http.admin=", "run") as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        url = next(line.split()[-1].decode() for line in lines if b"listening for messages on" in line)
        assert next(lines).split()[1:4] == [b"info", b"try:", b"invoker"]
        assert next(lines).strip().endswith(b"info    ready: invoker0, 2 GB for containers, runtime process")
        answer = await ask(Address.parse(url), "POST", "/invoke", message("echo"))
        process.terminate()
        rest = process.stderr.read().decode()

    activation_id = answer.json["response"]["activationId"]
    (line,) = (line for line in rest.splitlines() if activation_id in line)
    assert "success guest /guest/echo" in line
    assert not line.startswith("{")
