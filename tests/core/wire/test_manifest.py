"""The runtimes.manifest: upstream's example and its rules (spec 6.11)."""

import json
from typing import Any

import pytest

from invoker.entities.runtimes import PrewarmConfig, Reactive, Runtime
from invoker.wire.manifest import read
from tests.core.wire.manifests import CELL, IMAGE, REACTIVE, manifest, version

EXAMPLE = b"""
{"runtimes":{"nodejs":[{"kind":"nodejs:20","default":true,"deprecated":false,"requireMain":false,"sentinelledLogs":true,
   "image":{"registry":"","prefix":"openwhisk","name":"action-nodejs-v20","tag":"nightly"},
   "attached":{"attachmentName":"codefile","attachmentType":"text/plain"},
   "stemCells":[{"initialCount":2,"memory":"256 MB",
    "reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":1,"increment":1}}]}]},
 "blackboxes":[{"prefix":"openwhisk","name":"dockerskeleton","tag":"nightly"}]}"""


def only(text: bytes) -> Runtime:
    [runtime] = read(text)
    return runtime


def test_spec_6_11_the_example_is_read() -> None:
    runtimes = read(EXAMPLE)

    assert list(runtimes) == [
        Runtime(
            kind="nodejs:20",
            family="nodejs",
            image="openwhisk/action-nodejs-v20:nightly",
            default=True,
            prewarm=(
                PrewarmConfig(
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
    images = b'"blackboxes":[{"name":"mine"}]'

    assert len(read(b'{"description":["of us"], "runtimes":{}, "bypassPullForLocalImages": true, %b}' % images)) == 0
    assert len(read(b'{"runtimes":{"swift":[]}, %b}' % images)) == 0


def test_keys_that_nothing_asks_for_are_told_with_the_nearest_right_one() -> None:
    cell = {**CELL, "reactive": {**REACTIVE, "TTL": 5}, "memry": 1}
    text = json.loads(manifest(version(stemCels=[], stemCells=[cell], image={**IMAGE, "tags": "x"}), blackboxes=[]))
    told: list[str] = []

    runtimes = read(json.dumps({**text, "blackbox": [], "zzz": 1}).encode(), "kinds.json", warn=told.append)

    assert len(runtimes) == 1
    unknown = "is no key of a manifest and has no effect;"
    assert told == [
        f'runtimes.manifest: kinds.json: "blackbox" {unknown} did you mean blackboxes?',
        f'runtimes.manifest: kinds.json: "zzz" {unknown} there are runtimes, blackboxes, description',
        f'runtimes.manifest: kinds.json: "stemCels" in runtimes.python[0] {unknown} did you mean stemCells?',
        f'runtimes.manifest: kinds.json: "tags" in runtimes.python[0].image {unknown} did you mean tag?',
        f'runtimes.manifest: kinds.json: "memry" in runtimes.python[0].stemCells[0] {unknown} did you mean memory?',
        f'runtimes.manifest: kinds.json: "TTL" in runtimes.python[0].stemCells[0].reactive {unknown} did you mean ttl?',
    ]


def test_of_upstreams_keys_nothing_is_told() -> None:
    told: list[str] = []

    read(EXAMPLE, warn=told.append)

    assert told == []


def test_spec_6_11_3_a_stem_cells_count_has_two_names() -> None:
    cells = [{"count": 3, "memory": "1 GB"}, {"initialCount": 1, "count": 9, "memory": "128 m", "reactive": None}]

    assert only(manifest(version(stemCells=cells))).prewarm == (
        PrewarmConfig(count=3, memory=1 << 30),
        PrewarmConfig(count=1, memory=128 << 20),
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
    [cell] = only(manifest(version(stemCells=[{**CELL, "reactive": {**REACTIVE, "ttl": ttl}}]))).prewarm

    assert cell.reactive is not None
    assert cell.reactive.ttl == pytest.approx(seconds)
