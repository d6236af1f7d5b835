"""Code: inline, in the name of an attachment, in an attachment, or in a user's own image (spec 6.3 to 6.5)."""

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.wire.attachment import Attachment, binary_code
from invoker.wire.function import read
from tests.core.wire.documents import ATTACHED, BLACKBOX, INLINE, UUID, changed, refusal, stored
from tests.core.wire.examples import ABSENT

UPSTREAM = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)", re.ASCII)


def mem(name: str) -> dict[str, Any]:
    return {"attachmentName": name, "attachmentType": "application/octet-stream"}


# --- inline, spec 6.3.5 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "binary"),
    [
        ("UEsDBA==", True),
        (" UEsDBA==\n", True),
        ("main", True),  # T27: a word, and base64
        ("YWI=", True),
        ("", False),
        ("  ", False),
        ("abc", False),
        ("YWI", False),
        ("YQ=", False),
        ("Y===", False),
        ("====", False),
        ("YQ==YQ==", False),
        ("a-_b", False),
        ("YW\nJj", False),
        ("mäin", False),
        ("\u00a0abc", False),
        ("\u00a0abcd\u00a0", False),
        ("function main() {}", False),
    ],
)
@pytest.mark.parametrize("flag", [True, False, None, ABSENT])
def test_t27_the_flag_of_inline_code_is_not_believed(text: str, binary: bool, flag: Any) -> None:  # noqa: FBT001 (a column of the table)
    function = stored(exec__code=text, exec__binary=flag).function

    assert function.code == text
    assert function.binary is binary


@given(st.text("ABab09+/=-_ \n", max_size=16))
def test_code_is_binary_exactly_as_upstream_says(text: str) -> None:
    trimmed = text.strip()

    assert binary_code(text) == (len(trimmed) % 4 == 0 and UPSTREAM.fullmatch(trimmed) is not None)


def test_spec_6_3_3_old_java_actions_call_their_code_jar() -> None:
    java = {"kind": "java:8", "jar": "UEsDBA==", "main": "Hello"}

    function = stored(exec=java).function

    assert (function.code, function.binary) == ("UEsDBA==", True)


def test_spec_6_3_3_old_java_actions_may_have_an_attachment() -> None:
    jar = {"attachmentName": "jarfile", "attachmentType": "application/java-archive"}
    stubs = {"jarfile": {"content_type": "application/java-archive", "digest": "md5-x", "length": 3}}

    attached = stored(exec={"kind": "java:8", "jar": jar, "binary": True, "main": "Hello"}, _attachments=stubs)

    assert attached.attachment == Attachment("jarfile", "application/java-archive", length=3, digest="md5-x")
    assert attached.with_code(b"PK\x03").code == "UEsD"


# --- in the name of an attachment, spec 6.5 ----------------------------------------------------------------------


def test_t28_inline_attachments_are_url_safe_and_containers_get_standard_base64() -> None:
    data = bytes(range(0xF0, 0x100)) + b"?>~"

    result = stored(exec__code=mem(f"mem:{base64.urlsafe_b64encode(data).decode()}"), exec__binary=True)

    assert result.attachment is None
    assert result.function.code == base64.b64encode(data).decode()
    assert result.function.binary
    assert len(result.function.digest) == 32


def test_an_inline_attachment_may_be_text() -> None:
    name = f"mem:{base64.urlsafe_b64encode('héllo'.encode()).decode()}"

    assert stored(exec__code=mem(name), exec__binary=False).function.code == "héllo"


def test_the_flag_beside_an_attachment_is_believed() -> None:
    """Spec 6.3.5: its text is base64 all the same."""
    function = stored(exec__code=mem("mem:bWFpbg=="), exec__binary=ABSENT).function

    assert (function.code, function.binary) == ("main", False)


@pytest.mark.parametrize("name", ["mem:", "mem://"])
def test_t29_an_inline_attachment_may_be_empty(name: str) -> None:
    function = stored(exec__code=mem(name)).function

    assert function.code == ""


@pytest.mark.parametrize("name", ["mem:a+bc", "mem:a/bc", "mem:abc", "mem:é", "mem:YQ==YQ==\n", "mem:///"])
def test_an_inline_attachment_that_is_no_base64_is_unreadable(name: str) -> None:
    error = refusal(changed(exec__code=mem(name)))

    assert error.executable
    assert "URL-safe" in error.reason


# --- in an attachment, spec 6.5 ----------------------------------------------------------------------------------


def test_spec_6_2_an_attachment_is_left_to_the_store() -> None:
    result = stored(ATTACHED)

    assert result.attachment == Attachment(
        id=f"couch:{UUID}",
        type="application/octet-stream",
        length=20480,
        digest="md5-AAAAAAAAAAAAAAAAAAAAAA==",
    )
    assert (result.attachment.scheme, result.attachment.name) == ("couch", UUID)
    assert result.function.code is None
    assert result.function.binary


def test_spec_6_5_3_binary_attachments_become_base64() -> None:
    function = stored(ATTACHED).with_code(b"\x00\xff" * 60)

    assert function.code == base64.b64encode(b"\x00\xff" * 60).decode()  # one line
    assert function.binary
    assert function.main == "handler"


def test_spec_6_5_3_text_attachments_are_utf8() -> None:
    attached = stored(ATTACHED, exec__binary=False)

    assert attached.with_code("héllo".encode()).code == "héllo"
    assert attached.with_code(b"\xff!").code == "\ufffd!"


@pytest.mark.parametrize("name", ["codefile", "a/b"])
def test_an_attachment_without_a_scheme_has_a_legacy_name(name: str) -> None:
    attachment = stored(exec__code=mem(name)).attachment

    assert attachment == Attachment(name, "application/octet-stream")
    assert (attachment.scheme, attachment.name) == ("", name)


def test_what_the_reference_says_of_itself_counts_where_the_document_lists_nothing() -> None:
    reference = {**mem(f"couch:{UUID}"), "length": 7, "digest": "sha256-x"}

    attachment = stored(exec__code=reference).attachment

    assert attachment is not None
    assert (attachment.length, attachment.digest) == (7, "sha256-x")


@pytest.mark.parametrize("name", [f"s3:{UUID}", f"az:{UUID}", "nonsense:x", "a b:x"])
def test_an_unknown_scheme_can_not_be_fetched(name: str) -> None:
    error = refusal(changed(exec__code=mem(name)))

    assert not error.executable  # as upstream: could not be fetched (spec 6.5, 9.9)
    assert error.reason.startswith("unknown attachment scheme ")


def test_a_store_may_know_other_schemes() -> None:
    attachment = read(changed(exec__code=mem(f"s3:{UUID}")), schemes={"s3"}).attachment

    assert attachment is not None
    assert (attachment.scheme, attachment.name) == ("s3", UUID)


STUB = {"content_type": "text/plain", "digest": "md5-x", "length": 1}


@pytest.mark.parametrize(
    "stubs",
    [
        {UUID: STUB, "codefile": STUB},
        {"codefile": STUB},
        {UUID.replace("4", "5"): STUB},
        {UUID: {"content_type": "text/plain", "digest": "md5-x"}},
        {UUID: {"content_type": "text/plain", "length": 1}},
        {UUID: {"digest": "md5-x", "length": 1}},
        [],
    ],
)
def test_spec_6_5_4_a_documents_list_of_attachments_must_agree(stubs: Any) -> None:
    assert refusal(changed(ATTACHED, _attachments=stubs)).executable


@pytest.mark.parametrize("reference", [{}, {"attachmentName": "x"}, {"attachmentType": "x"}, []])
def test_a_reference_has_a_name_and_a_type(reference: Any) -> None:
    assert refusal(changed(exec__code=reference)).executable


# --- a user's own image, spec 6.4 --------------------------------------------------------------------------------


def test_spec_6_4_an_image_with_code() -> None:
    function = stored(BLACKBOX).function

    assert function.kind == "blackbox"
    assert function.image == "registry.example.org/team/proc:1.4"
    assert function.code == "hello"
    assert not function.binary


@pytest.mark.parametrize("code", [ABSENT, None, "", " \n", mem("mem:"), mem("mem:ICAg")])
@pytest.mark.parametrize("flag", [True, False])
def test_spec_6_4_2_an_image_may_bring_its_own_code(code: Any, flag: bool) -> None:  # noqa: FBT001 (a column of the table)
    function = stored(BLACKBOX, exec__code=code, exec__binary=flag and not isinstance(code, dict)).function

    assert function.code is None
    assert not function.binary


def test_an_image_may_be_given_an_archive() -> None:
    function = stored(BLACKBOX, exec__code=mem("mem:UEsDBA=="), exec__binary=True).function

    assert (function.code, function.binary) == ("UEsDBA==", True)


@pytest.mark.parametrize(
    ("image", "kept"),
    [
        ("proc", "proc"),
        ("team/proc", "team/proc"),
        ("team/proc:1.4-rc.1_x", "team/proc:1.4-rc.1_x"),
        ("localhost/proc", "localhost/proc"),
        ("localhost:5000/team/sub/proc:latest", "localhost:5000/team/sub/proc:latest"),
        ("Registry.Example.org/proc", "Registry.Example.org/proc"),
        ("10.0.0.1:5000/proc", "10.0.0.1:5000/proc"),
        ("a__b/c-d--e/f.g", "a__b/c-d--e/f.g"),
        (" proc:1 ", "proc:1"),
        (f"team/proc@sha256:{'0' * 64}", "team/proc"),
        (f"team/proc:1.4@sha256:{'0' * 64}", "team/proc:1.4"),
    ],
)
def test_spec_6_4_1_an_image_has_a_name(image: str, kept: str) -> None:
    assert stored(BLACKBOX, exec__image=image).function.image == kept


@pytest.mark.parametrize(
    "image",
    [
        ABSENT,
        None,
        7,
        {"name": "proc"},
        "",
        "/proc",
        "proc/",
        "team//proc",
        "Proc",
        "Team/proc",
        "proc:",
        "proc:-x",
        "proc:" + "x" * 129,
        "proc@sha256:0",
        "proc@sha256",
        "pr oc",
        "proc\n--privileged",
        "--privileged",
        "../proc",
        "proc:1\u0661",
        "x" * 600,
        "a" + "-" * 400 + "!",
    ],
)
def test_spec_6_4_1_what_is_no_image_is_unreadable(image: Any) -> None:
    assert "exec.image" in refusal(changed(BLACKBOX, exec__image=image)).reason


def test_other_kinds_have_no_image() -> None:
    assert stored(INLINE, exec__image="proc").function.image is None
    assert stored(INLINE, exec__image={"name": "action-nodejs"}).function.image is None
