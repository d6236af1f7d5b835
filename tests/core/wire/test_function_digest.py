"""The digest of a function: same digest, same behaviour (spec 10.2.1, T37)."""

from typing import Any

import pytest

from invoker.wire.function import read
from tests.core.wire.documents import ATTACHED, BLACKBOX, INLINE, changed, stored
from tests.core.wire.examples import ABSENT


@pytest.mark.parametrize(
    "fields",
    [
        {"namespace": "acme"},
        {"name": "other"},
        {"version": "0.0.8"},
        {"publish": True},
        {"exec__kind": "nodejs:22"},
        {"exec__code": "function main() { }"},
        {"exec__code": "YWJj"},
        {"exec__main": ABSENT},
        {"parameters": []},
        {"limits__memory": 128},
        {"limits__concurrency": 2},
        {"annotations": []},
    ],
)
def test_spec_10_2_1_what_changes_behaviour_changes_the_digest(fields: dict[str, Any]) -> None:
    assert stored(**fields).function.digest != stored().function.digest


@pytest.mark.parametrize(
    "fields",
    [
        {"_rev": "9-00000000000000000000000000000000"},
        {"_rev": ABSENT},
        {"updated": 1},
        {"_id": ABSENT},
        {"exec__binary": True},
        {"parameters": [dict(reversed(parameter.items())) for parameter in INLINE["parameters"]]},
    ],
)
def test_t37_nothing_else_does(fields: dict[str, Any]) -> None:
    """Also deleted and created again, with its members in another order."""
    assert stored(**fields).function.digest == stored().function.digest


def test_the_image_is_part_of_the_digest() -> None:
    digests = {stored(BLACKBOX, exec__image=f"proc:{tag}").function.digest for tag in ("1.4", "1.5")}

    assert len(digests) == 2


def test_an_attachments_content_is_part_of_the_digest() -> None:
    attached = stored(ATTACHED)

    assert attached.function.digest == b""
    assert attached.with_code(b"a").digest == attached.with_code(b"a").digest
    assert attached.with_code(b"a").digest != attached.with_code(b"b").digest


def test_code_counts_the_same_wherever_it_is_kept() -> None:
    reference = {"attachmentName": f"couch:{'x' * 8}", "attachmentType": "text/plain"}

    attached = stored(exec__code=reference).with_code(b"function main() {}")

    assert attached == stored().function


def test_values_that_python_can_not_hold_count_too() -> None:
    body = changed(parameters=[{"key": "n", "value": "@"}])

    digests = {read(body.replace(b'"@"', number)).function.digest for number in (b"1e999", b"2e999")}

    assert len(digests) == 2
