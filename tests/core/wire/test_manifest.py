"""The runtimes.manifest: upstream's example, its rules, and every fault with its place (spec 6.11)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.entities.runtimes import Reactive, Runtime, Runtimes, StemCell
from invoker.errors import SettingsError
from invoker.wire.manifest import read

EXAMPLE = b"""
{"runtimes":{"nodejs":[{"kind":"nodejs:20","default":true,"deprecated":false,"requireMain":false,"sentinelledLogs":true,
   "image":{"registry":"","prefix":"openwhisk","name":"action-nodejs-v20","tag":"nightly"},
   "attached":{"attachmentName":"codefile","attachmentType":"text/plain"},
   "stemCells":[{"initialCount":2,"memory":"256 MB",
    "reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":1,"increment":1}}]}]},
 "blackboxes":[{"prefix":"openwhisk","name":"dockerskeleton","tag":"nightly"}]}"""

IMAGE = {"prefix": "openwhisk", "name": "action"}
CELL = {"initialCount": 1, "memory": "256 MB"}
REACTIVE = {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 1, "increment": 2}


def version(kind: str = "python:3", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "image": IMAGE, **fields}


def manifest(*versions: Any, blackboxes: Any = None, **families: Any) -> bytes:
    runtimes = {**({"python": list(versions)} if versions else {}), **families}
    return json.dumps({"runtimes": runtimes, **({} if blackboxes is None else {"blackboxes": blackboxes})}).encode()


def only(text: bytes) -> Runtime:
    [runtime] = read(text)
    return runtime


def faults(text: bytes) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert all(fault.startswith("runtimes.manifest: ") for fault in caught.value.faults)
    return [fault.removeprefix("runtimes.manifest: ") for fault in caught.value.faults]


# --- what is read ------------------------------------------------------------------------------------------------


def test_spec_6_11_the_example_is_read() -> None:
    runtimes = read(EXAMPLE)

    assert list(runtimes) == [
        Runtime(
            kind="nodejs:20",
            family="nodejs",
            image="openwhisk/action-nodejs-v20:nightly",
            default=True,
            stem_cells=(
                StemCell(
                    count=2,
                    memory=256 << 20,
                    reactive=Reactive(min_count=1, max_count=4, ttl=120.0, threshold=1, increment=1),
                ),
            ),
        )
    ]
    assert runtimes.resolve("nodejs:default") == runtimes.resolve("nodejs:20")


def test_what_a_version_doesn_t_say_has_a_default() -> None:
    assert only(manifest(version())) == Runtime(kind="python:3", family="python", image="openwhisk/action")


@pytest.mark.parametrize("value", [None, True, False])
def test_switches_may_be_null(value: bool | None) -> None:  # noqa: FBT001 (a column of the table)
    switches = ("default", "deprecated", "requireMain", "sentinelledLogs")

    runtime = only(manifest(version(**dict.fromkeys(switches, value), attached=None, stemCells=None)))

    assert runtime.default is (value is True)
    assert runtime.deprecated is (value is True)
    assert runtime.require_main is (value is True)
    assert runtime.sentinelled_logs is (value is not False)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"name": "action"}, "action"),
        ({"prefix": "openwhisk", "name": "action", "tag": "1"}, "openwhisk/action:1"),
        ({"registry": "r.example:5000", "prefix": "a/b", "name": "c"}, "r.example:5000/a/b/c"),
        ({"registry": "r.example/", "prefix": "a", "name": "c", "tag": "x"}, "r.example/a/c:x"),
        ({"registry": None, "prefix": None, "name": "c", "tag": None}, "c"),
        ({"registry": "", "prefix": "", "name": "c", "tag": ""}, "c"),
    ],
)
def test_spec_6_11_2_an_image_is_put_together(image: dict[str, Any], name: str) -> None:
    assert only(manifest(version(image=image))).image == name


def test_spec_6_11_1_a_single_version_is_the_default() -> None:
    runtimes = read(manifest(version(default=False), go=[version("go:1", image={"name": "go"})]))

    assert [runtime.kind for runtime in map(runtimes.resolve, ("python:default", "go:default")) if runtime] == [
        "python:3",
        "go:1",
    ]


def test_spec_6_11_1_one_of_several_versions_is_the_default() -> None:
    runtimes = read(manifest(version("python:2"), version("python:3", default=True)))

    default = runtimes.resolve("python:default")

    assert default is not None
    assert default.kind == "python:3"


def test_spec_6_4_3_listed_images_are_native_with_tag_latest_if_they_have_none() -> None:
    boxes = [
        {"prefix": "openwhisk", "name": "dockerskeleton", "tag": "nightly"},
        {"registry": "r.example", "name": "x"},
    ]

    runtimes = read(manifest(version(), blackboxes=boxes))

    native = [
        image
        for image in (
            "openwhisk/dockerskeleton:nightly",
            "openwhisk/dockerskeleton",
            "r.example/x",
            "r.example/x:latest",
        )
        if runtimes.blackbox(image).sentinelled_logs
    ]
    assert native == ["openwhisk/dockerskeleton:nightly", "r.example/x", "r.example/x:latest"]


def test_a_manifest_may_be_empty_and_may_say_more() -> None:
    assert len(read(b'{"runtimes":{}, "blackboxes":null, "bypassPullForLocalImages": true}')) == 0
    assert len(read(b'{"runtimes":{"swift":[]}}')) == 0


def test_spec_6_11_3_a_stem_cells_count_has_two_names() -> None:
    cells = [{"count": 3, "memory": "1 GB"}, {"initialCount": 1, "count": 9, "memory": "128 m", "reactive": None}]

    assert only(manifest(version(stemCells=cells))).stem_cells == (
        StemCell(count=3, memory=1 << 30),
        StemCell(count=1, memory=128 << 20),
    )


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        ("2 minutes", 120),
        ("1 minute", 60),
        ("10m", 600),
        ("1.5 hours", 5400),
        ("1 d", 86400),
        ("30 secs", 30),
        ("500 millis", 0.5),
        ("5 ms", 0.005),
        ("7 µs", 7e-6),
        ("7 nanoseconds", 7e-9),
    ],
)
def test_spec_6_11_3_a_ttl_is_a_duration_in_scalas_words(ttl: str, seconds: float) -> None:
    [cell] = only(manifest(version(stemCells=[{**CELL, "reactive": {**REACTIVE, "ttl": ttl}}]))).stem_cells

    assert cell.reactive is not None
    assert cell.reactive.ttl == pytest.approx(seconds)


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "Input data was truncated"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (b'{"runtimes":"\xff"}', "not UTF-8 (byte 0)"),
        (b"[" * 100_000, "JSON is nested too deeply"),
        (b"[]", "expected an object"),
        (b"{}", "runtimes: is missing"),
        (b'{"runtimes":[]}', "runtimes: Expected `object`, got `array`"),
        (b'{"runtimes":{"x":{}}}', "runtimes: Expected `array`, got `object` - at `$[...]`"),
        (b'{"runtimes":{},"blackboxes":{}}', "blackboxes: Expected `array | null`, got `object`"),
        (b'{"runtimes":{},"blackboxes":["x"]}', "blackboxes[0]: expected an object"),
        (manifest("python:3"), "runtimes.python[0]: expected an object"),
        (manifest({"kind": "python:3"}), "runtimes.python[0].image: is missing"),
        (manifest({"image": IMAGE}), "runtimes.python[0].kind: is missing"),
        (manifest(version("")), "runtimes.python[0].kind: Expected `str` of length >= 1"),
        (manifest(version("Python:3")), "runtimes.python[0].kind: is not in lower case, as the kinds of actions are"),
        (manifest(version(default="yes")), "runtimes.python[0].default: Expected `bool | null`, got `str`"),
        (manifest(version(image="python")), "runtimes.python[0].image: expected an object"),
        (manifest(version(image={})), "runtimes.python[0].image.name: is missing"),
        (manifest(version(image={"name": "UPPER"})), "runtimes.python[0].image: is no name of an image"),
        (manifest(version(attached={})), "runtimes.python[0].attached.attachmentType: is missing"),
        (manifest(version(stemCells={})), "runtimes.python[0].stemCells: Expected `array | null`, got `object`"),
        (manifest(version(stemCells=[7])), "runtimes.python[0].stemCells[0]: expected an object"),
    ],
)
def test_what_is_no_manifest_says_where(text: bytes, fault: str) -> None:
    assert faults(text)[-1] == fault


@pytest.mark.parametrize("marked", [(), (0, 1), (0, 1, 2)])
def test_spec_6_11_1_several_versions_need_exactly_one_default(marked: tuple[int, ...]) -> None:
    versions = [version(f"python:{n}", default=n in marked) for n in range(3)]

    assert faults(manifest(*versions)) == [
        f"runtimes.python: has 3 versions, of which one must be the default, not {len(marked)}"
    ]


def test_a_kind_is_listed_once() -> None:
    assert faults(manifest(version(), other=[version()])) == [
        "runtimes.other[0].kind: is the same as runtimes.python[0].kind"
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
        "runtimes.python[0].image.name",
        "runtimes.python[0].image.prefix",
        "runtimes.python[0].stemCells[0].initialCount",
        "runtimes.python[0].stemCells[0].memory",
        "runtimes.python[0].stemCells[1].reactive.minCount",
        "runtimes.python[0].stemCells[1].reactive.maxCount",
        "runtimes.python[0].stemCells[1].reactive.ttl",
        "runtimes.python[0].stemCells[1].reactive.threshold",
        "runtimes.python[0].stemCells[1].reactive.increment",
        "runtimes.python[0].stemCells[1].memory",
        "runtimes.python[0].kind",
        "runtimes.python[0].default",
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
