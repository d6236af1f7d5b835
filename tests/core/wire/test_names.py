"""Names, paths and versions, as messages have them (spec 1.4)."""

from typing import Any

import pytest

from invoker.wire.request import parse
from tests.core.wire.examples import ABSENT, changed, fault


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("ns/name", "ns", "name"),
        ("ns/pkg/name", "ns/pkg", "name"),
        ("/ns//pkg/name/", "ns/pkg", "name"),
        ("me@home.org/my name", "me@home.org", "my name"),
    ],
)
def test_spec_1_4_2_an_action_may_be_one_string(text: str, path: str, name: str) -> None:
    function = parse(changed(action=text)).function

    assert (function.path, function.name, function.version) == (path, name, "0.0.1")


@pytest.mark.parametrize("text", ["", "/", "name", "/name/", "ns/ name", "ns/a\n", "ns/é", "ns/" + "n" * 257])
def test_a_string_that_names_no_action_is_malformed(text: str) -> None:
    assert "action" in fault(changed(action=text))


@pytest.mark.parametrize("field", ["path", "binding"])
def test_spec_1_4_3_empty_segments_of_a_path_do_no_harm(field: str) -> None:
    function = parse(changed(**{f"action__{field}": "//zoe//my tools/"})).function

    assert getattr(function, field) == "zoe/my tools"


@pytest.mark.parametrize("path", ["", "/", " zoe", "zoe ", "zoe/ x", "zo\u00e9", "zoe\n", "a" * 257, "-x", "zoe/../x"])
@pytest.mark.parametrize("field", ["path", "binding"])
def test_spec_1_4_3_a_malformed_path_is_refused(field: str, path: str) -> None:
    if field == "binding" and not path:
        assert parse(changed(action__binding=path)).function.binding is None  # the Go variant's absence (1.10.7)
        return

    assert f"action.{field}" in fault(changed(**{f"action__{field}": path}))


@pytest.mark.parametrize("name", ["x", "_", "a b", "a@b.c&d-e", "9", "n" * 256])
def test_a_well_formed_name_is_kept(name: str) -> None:
    assert parse(changed(action__name=name)).function.name == name


@pytest.mark.parametrize("name", ["", "a/b", " a", "a ", "é", "a\u0000", "n" * 257])
def test_a_malformed_name_is_refused(name: str) -> None:
    assert "action.name" in fault(changed(action__name=name))


@pytest.mark.parametrize(
    ("version", "read"),
    [
        ("0.0.7", "0.0.7"),
        ("1", "1.0.0"),
        ("1.2", "1.2.0"),
        ("01.2.3", "1.2.3"),
        ("1.2.3.4", "1.2.3"),
        ("2147483647.0.0", "2147483647.0.0"),
        ("", "0.0.1"),
        (None, "0.0.1"),
        (ABSENT, "0.0.1"),
    ],
)
def test_spec_1_4_7_a_version_has_three_parts(version: Any, read: str) -> None:
    assert parse(changed(action__version=version)).function.version == read


@pytest.mark.parametrize(
    "version", ["0.0.0", "0", "-1.0.0", "a.b.c", "1..2", "1.2.x", "2147483648", "1" * 5000, "1.0.0\n"]
)
def test_spec_1_4_7_other_versions_are_refused(version: str) -> None:
    assert "action.version" in fault(changed(action__version=version))


@pytest.mark.parametrize("revision", [None, "", ABSENT])
def test_no_revision_means_the_newest(revision: Any) -> None:
    assert parse(changed(revision=revision)).function.revision is None
