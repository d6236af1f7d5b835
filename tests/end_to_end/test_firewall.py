"""The firewall around a runtime that it can't keep in: whoever starts or checks an invoker is told."""

import json

from tests.end_to_end.program import Home

OPEN = "the network of actions is open: "


def test_check_says_that_the_network_is_open(home: Home) -> None:
    called = home.call("--set", 'extra=["firewall"]', "check", "--json")

    (runtime,) = (finding for finding in called.json if finding["part"] == "runtime")
    assert (called.code, runtime["ok"]) == (0, True)
    assert any(warning.startswith(OPEN) for warning in runtime["warnings"])


def test_an_invoker_that_may_not_run_with_an_open_network_does_not_start(home: Home) -> None:
    called = home.call("--set", 'extra=["firewall"]', "--set", "firewall.required=true", "run")

    assert called.code == 2
    assert json.loads(called.errors.splitlines()[-1])["message"] == (
        "firewall.required: ProcessRuntime gives containers no network that could be told from the machine's own"
    )
