"""Notes: annotations of ours that say more than OpenWhisk's, in records of either kind."""

import json
from pathlib import Path

import pytest

from invoker.config import Compat
from invoker.telemetry.activations import COLD_START
from invoker.testing.builders import an_activation
from invoker.wire.record import read, record, recorded

NOTES = (("coldStart", "evicted"), ("peakMemory", 314572800))


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_notes_are_annotations_of_the_record(compat: Compat) -> None:
    found = {each.key: each.value for each in record(an_activation(notes=NOTES), compat, ()).annotations}

    assert found["coldStart"] == "evicted"
    assert found["peakMemory"] == 314572800
    assert found["path"] == "guest/hello"


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_without_notes_there_are_no_such_annotations(compat: Compat) -> None:
    keys = {each.key for each in record(an_activation(), compat, ()).annotations}

    assert not keys & {"coldStart", "peakMemory"}


@pytest.mark.parametrize("compat", ["openwhisk", "functions"])
def test_notes_survive_the_store(compat: Compat) -> None:
    stored = recorded(an_activation(notes=NOTES), compat=compat, updated=0).document

    assert sorted(read(stored).notes) == list(NOTES)
    assert {"key": "coldStart", "value": "evicted"} in json.loads(stored)["annotations"]


@pytest.mark.parametrize("note", [COLD_START, "peakMemory"])
def test_annotations_that_are_not_openwhisks_are_described(note: str) -> None:
    compatibility = Path(__file__).parents[3] / "core" / "COMPATIBILITY.md"

    assert f"| `{note}` |" in compatibility.read_text()
