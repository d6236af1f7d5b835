"""What is no manifest: every fault with its place (spec 6.11)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.runtimes import Runtimes
from invoker.errors import SettingsError
from invoker.wire.manifest import EXAMPLE, read
from tests.core.wire.manifests import CELL, IMAGE, REACTIVE, faults, manifest, version


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b" ", f"is empty; it must be like {EXAMPLE}"),
        (b"{", "line 1, column 2: is no JSON: Expecting property name enclosed in double quotes"),
        (b'{"runtimes":\n {"go":[}}', "line 2, column 9: is no JSON: Expecting value"),
        (b"\xff", "is no JSON: not UTF-8 (byte 0)"),
        (b'{"runtimes":"\xff"}', "is no JSON: not UTF-8 (byte 13)"),
        (
            b'{"runtimes":"\\ud800"}',
            "is no JSON that can be read: half of a surrogate pair is escaped, such as \\ud800",
        ),
        (b'{"runtimes":NaN}', "is no JSON: JSON is malformed: invalid character (byte 12)"),
        (
            b'{"runtimes":-%b}' % (b"9" * 5000),
            "is no JSON: Integer value out of range",
        ),
        (b"[" * 100_000, "is no JSON: JSON is nested too deeply"),
        (b"[]", "expected an object, got []"),
        (b"{}", "runtimes: is missing: expected an object"),
        (b'{"runtimes":[]}', "runtimes: expected an object with a list for each family of kinds, got []"),
        (b'{"runtimes":{"x":{}}}', "runtimes.x: expected a list of objects, got {}"),
        (b'{"runtimes":{},"blackboxes":{}}', "blackboxes: expected a list, each item an object, got {}"),
        (b'{"runtimes":{},"blackboxes":["x"]}', 'blackboxes[0]: expected an object, got "x"'),
        (manifest("python:3"), 'runtimes.python[0]: expected an object, got "python:3"'),
        (manifest("x" * 70), f'runtimes.python[0]: expected an object, got "{"x" * 59}…'),
        (manifest({"kind": "python:3"}), "runtimes.python[0].image: is missing: expected an object"),
        (manifest({"image": IMAGE}), "runtimes.python[0].kind: is missing: expected a string of at least 1 characters"),
        (manifest(version("")), 'runtimes.python[0].kind: expected a string of at least 1 characters, got ""'),
        (
            manifest(version("Python:3")),
            'runtimes.python[0].kind: "Python:3" is not in lower case, as the kinds of actions are: write "python:3"',
        ),
        (manifest(version(default="yes")), 'runtimes.python[0].default: expected true or false, got "yes"'),
        (manifest(version(image="python")), 'runtimes.python[0].image: expected an object, got "python"'),
        (manifest(version(image={})), "runtimes.python[0].image.name: is missing: expected a string of at least 1"),
        (
            manifest(version(image={"prefix": "me", "name": "UPPER"})),
            (
                'runtimes.python[0].image: "me/UPPER" is no name of an image: it is [registry/][prefix/]name[:tag], '
                "where prefix and name are in lower case"
            ),
        ),
        (manifest(version(attached={})), "runtimes.python[0].attached.attachmentType: is missing: expected a string"),
        (manifest(version(stemCells={})), "runtimes.python[0].stemCells: expected a list, each item an object, got {}"),
        (manifest(version(stemCells=[7])), "runtimes.python[0].stemCells[0]: expected an object, got 7"),
    ],
)
def test_what_is_no_manifest_says_where(text: bytes, fault: str) -> None:
    assert faults(text)[-1].startswith(fault)


def test_a_fault_names_the_file() -> None:
    with pytest.raises(SettingsError) as caught:
        read(b"[]", "/etc/kinds.json")

    assert caught.value.faults == ("runtimes.manifest: /etc/kinds.json: expected an object, got []",)


@pytest.mark.parametrize("text", ['{"runtimes":{}}', '{"runtimes":{"go":[]}}', '{"runtimes":{},"blackboxes":[]}'])
def test_a_manifest_with_which_nothing_could_run_is_refused(text: str) -> None:
    [fault] = faults(text.encode())

    assert fault.startswith("lists neither a kind nor an image, so that nothing could run: it must be like {")
    assert fault.endswith("or leave runtimes.manifest out, for what the container runtime offers of its own accord")


def test_the_example_in_a_fault_is_a_manifest() -> None:
    assert [runtime.kind for runtime in read(EXAMPLE.encode())] == ["python:3"]


@pytest.mark.parametrize("marked", [(), (0, 1), (0, 1, 2)])
def test_spec_6_11_1_several_versions_need_exactly_one_default(marked: tuple[int, ...]) -> None:
    versions = [version(f"python:{n}", default=n in marked) for n in range(3)]

    assert faults(manifest(*versions)) == [
        (
            f"runtimes.python: has 3 versions (python:0, python:1, python:2), of which one must be the default, "
            f'not {len(marked)}: give exactly one "default": true'
        )
    ]


def test_a_kind_is_listed_once() -> None:
    assert faults(manifest(version(), other=[version()])) == [
        'runtimes.other[0].kind: "python:3" is the same as runtimes.python[0].kind: remove one of them'
    ]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"initialCount": 0}, "initialCount"),
        ({"initialCount": -1}, "initialCount"),
        ({"initialCount": "2"}, "initialCount"),
        ({"initialCount": None}, "initialCount"),
        ({"initialCount": None, "count": 0}, "count"),
        ({"memory": 256}, "memory"),
        ({"memory": "256 XB"}, "memory"),
        ({"memory": "0 MB"}, "memory"),
        ({"reactive": {**REACTIVE, "minCount": -1}}, "reactive.minCount"),
        ({"reactive": {**REACTIVE, "minCount": 5}}, "reactive.minCount"),
        ({"reactive": {**REACTIVE, "maxCount": 0}}, "reactive.maxCount"),
        ({"reactive": {**REACTIVE, "threshold": 0}}, "reactive.threshold"),
        ({"reactive": {**REACTIVE, "increment": 0}}, "reactive.increment"),
        ({"reactive": {**REACTIVE, "increment": 5}}, "reactive.increment"),
        ({"reactive": {**REACTIVE, "ttl": 120}}, "reactive.ttl"),
        ({"reactive": {**REACTIVE, "ttl": "a while"}}, "reactive.ttl"),
        ({"reactive": {**REACTIVE, "ttl": "2 fortnights"}}, "reactive.ttl"),
        ({"reactive": {**REACTIVE, "ttl": "Inf"}}, "reactive.ttl"),
        ({"reactive": 1}, "reactive"),
    ],
)
def test_spec_6_11_3_a_stem_cell_has_bounds(changes: dict[str, Any], place: str) -> None:
    [fault] = faults(manifest(version(stemCells=[CELL, {**CELL, **changes}])))

    assert fault.startswith(f"runtimes.python[0].stemCells[1].{place}: ")


def test_every_fault_is_told_at_once() -> None:
    text = manifest(
        {"kind": 5, "image": {"prefix": 7}, "default": "yes", "stemCells": [{"memory": "5 XB"}, {"reactive": {}}]},
        version("python:2", deprecated=1),
        blackboxes=[{"name": "x"}, {}],
    )

    assert [fault.partition(": ")[0] for fault in faults(text)] == [
        "runtimes.python[0].kind",
        "runtimes.python[0].image.name",
        "runtimes.python[0].image.prefix",
        "runtimes.python[0].default",
        "runtimes.python[0].stemCells[0].initialCount",
        "runtimes.python[0].stemCells[0].memory",
        "runtimes.python[0].stemCells[1].memory",
        "runtimes.python[0].stemCells[1].reactive.minCount",
        "runtimes.python[0].stemCells[1].reactive.maxCount",
        "runtimes.python[0].stemCells[1].reactive.ttl",
        "runtimes.python[0].stemCells[1].reactive.threshold",
        "runtimes.python[0].stemCells[1].reactive.increment",
        "runtimes.python[1].deprecated",
        "blackboxes[1].name",
    ]


@given(st.binary(max_size=40))
def test_any_bytes_are_a_manifest_or_a_fault_of_the_settings(text: bytes) -> None:
    with pytest.raises(SettingsError):
        read(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "image", "name"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["kind", "image", "attached", "stemCells", "default"]), JSON)
def test_a_manifest_with_any_value_anywhere_is_one_or_a_fault(field: str, value: Any) -> None:
    try:
        runtimes = read(manifest(version(**{field: value}), blackboxes=value if isinstance(value, list) else None))
    except SettingsError:
        return

    assert isinstance(runtimes, Runtimes)
