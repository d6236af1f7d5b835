"""What action proxies are sent: spec 9.2, 9.3, T43-T52."""

import json
from typing import Any

import msgspec
import pytest

from invoker.entities.function import Function, FunctionRef
from invoker.entities.request import Request
from invoker.testing.builders import a_caller, a_function, a_request, a_transaction
from invoker.wire.action_proxy import environment, init_body, run_body, split
from tests.captures.reading import messages

Raw = msgspec.Raw

RESIZE = a_function(path="acme/tools", name="resize", main="handler", binary=True, code="UEsDBAoAAAAAAA==")
ZOE = a_caller(namespace="zoe", authkey=Raw(b'{"api_key":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:secret"}'))
ASKED = a_request(
    FunctionRef("acme/tools", "resize", version="0.0.7", binding="zoe/mytools"),
    activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735",
    transaction=a_transaction(id="kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4"),
    caller=ZOE,
)
INIT = """{"value":{"name":"resize","main":"handler","binary":true,"code":"UEsDBAoAAAAAAA==",
 "env":{"LOG_LEVEL":"debug","__OW_API_KEY":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:secret",
  "__OW_NAMESPACE":"zoe","__OW_ACTION_NAME":"/acme/tools/resize","__OW_ACTION_VERSION":"0.0.7",
  "__OW_ACTIVATION_ID":"3f2a9c5d7e1b48068a4d2c6e90b1f735","__OW_TRANSACTION_ID":"kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",
  "__OW_DEADLINE":"1790000060180"}}}"""
RUN = """{"value":{"width":640,"token":"s3cr3t"},
 "api_key":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:secret","namespace":"zoe","action_name":"/acme/tools/resize",
 "action_version":"0.0.7","activation_id":"3f2a9c5d7e1b48068a4d2c6e90b1f735",
 "transaction_id":"kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4","deadline":"1790000060270"}"""


def with_key(authkey: str) -> Request:
    return a_request(caller=a_caller(namespace="zoe", authkey=Raw(authkey.encode())))


def environment_of(request: Request, function: Function = RESIZE, **parameters: str) -> dict[str, str]:
    return environment(request, function, {name: Raw(text.encode()) for name, text in parameters.items()}, deadline=1)


def sent(request: Request, value: bytes = b"{}", function: Function = RESIZE) -> dict[str, Any]:
    """Return what `/run` is sent; no name may be there twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    body = run_body(request, Raw(value), function, deadline=1790000060270)
    parsed: dict[str, Any] = json.loads(body, object_pairs_hook=once)
    return parsed


# --- the examples of the specification, and what a real function saw -------------------------------------------------


def test_init_is_sent_as_specified() -> None:
    variables = environment(ASKED, RESIZE, {"LOG_LEVEL": Raw(b'"debug"')}, deadline=1790000060180)

    assert json.loads(init_body(RESIZE, variables)) == json.loads(INIT)


def test_run_is_sent_as_specified() -> None:
    body = run_body(ASKED, Raw(b'{"width":640,"token":"s3cr3t"}'), RESIZE, deadline=1790000060270)

    assert json.loads(body) == json.loads(RUN)


MESSAGES = {message["activationId"]: message for message in map(json.loads, messages("invoker0"))}
RESULTS = {
    message["response"]["activationId"]: message["response"]["response"]["result"]
    for message in map(json.loads, messages("completed0"))
    if "response" in message
}
SENT = [each for each, result in RESULTS.items() if "req" in result]
STARTED = [each for each in RESULTS if MESSAGES[each]["initArgs"] == ["ENVV"]]


def test_real_functions_told_what_they_were_given() -> None:
    assert (len(SENT), len(STARTED)) == (6, 3)


def captured(activation_id: str) -> Request:
    message = MESSAGES[activation_id]
    action, user = message["action"], message["user"]
    return a_request(
        FunctionRef(action["path"], action["name"], action["version"]),
        activation_id=activation_id,
        transaction=a_transaction(id=message["transid"][0]),
        caller=a_caller(namespace=user["namespace"]["name"], authkey=Raw(json.dumps(user["authkey"]).encode())),
    )


@pytest.mark.parametrize("activation_id", SENT)
def test_a_real_function_would_have_been_sent_the_same(activation_id: str) -> None:
    seen = RESULTS[activation_id]["req"]
    function = a_function(provide_api_key=False)
    content = Raw(json.dumps(MESSAGES[activation_id]["content"]).encode())

    body = run_body(captured(activation_id), content, function, deadline=int(seen["deadline"]))

    assert json.loads(body) == seen


@pytest.mark.parametrize("activation_id", STARTED)
def test_a_real_function_would_have_had_the_same_environment(activation_id: str) -> None:
    message = MESSAGES[activation_id]

    parameters, value = split(Raw(json.dumps(message["content"]).encode()), message["initArgs"])
    variables = environment(captured(activation_id), a_function(provide_api_key=False), parameters, deadline=1)

    assert variables.keys() | {"__OW_API_HOST"} == set(RESULTS[activation_id]["env"])
    assert json.loads(bytes(value)) == RESULTS[activation_id]["got"]


# --- init ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"debug"', "debug"),
        ('""', ""),
        ('"false"', "false"),
        ('"a\\n\\"b\\" \\u00e9"', 'a\n"b" é'),
        ('"\\ud83d\\ude00"', "😀"),
        ("null", ""),
        ("true", "true"),
        ("false", "false"),
        ("0", "0"),
        ("-12.50", "-12.50"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.0000001", "0.0000001"),
        ("1e3", "1E+3"),
        ("1.50E-9", "1.50E-9"),
        ("120e1", "1.20E+3"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ('{ "n" : [ 1.10 , "a b" ] }', '{"n":[1.10,"a b"]}'),
        ("[]", "[]"),
        ('[ "\\ud800" ]', '[ "\\ud800" ]'),
        ('"\\ud800"', "\ud800"),
    ],
)
def test_environment_variables_are_texts(value: str, text: str) -> None:
    assert environment_of(ASKED, PARAMETER=value)["PARAMETER"] == text


def test_a_number_of_any_length_is_a_text() -> None:
    number = "1" * 5000

    assert environment_of(ASKED, PARAMETER=number)["PARAMETER"] == number


def test_a_parameter_cannot_pretend_to_be_the_platform() -> None:
    variables = environment_of(ASKED, __OW_NAMESPACE='"root"', __OW_API_KEY='"stolen"', __OW_OTHER='"kept"')

    assert variables["__OW_NAMESPACE"] == "zoe"
    assert variables["__OW_API_KEY"] == "7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:secret"
    assert variables["__OW_OTHER"] == "kept"


def test_the_deadline_is_a_text_and_the_platforms_address_is_not_ours_to_tell() -> None:
    variables = environment(ASKED, RESIZE, {}, deadline=1790000060180)

    assert variables["__OW_DEADLINE"] == "1790000060180"
    assert "__OW_API_HOST" not in variables


def test_main_has_a_default_and_missing_code_is_left_out() -> None:
    function = a_function(name="hello", main=None, code=None, binary=False)

    value = json.loads(init_body(function, {"A": "b"}))["value"]

    assert value == {"name": "hello", "main": "main", "binary": False, "env": {"A": "b"}}


def test_empty_code_is_sent() -> None:
    assert json.loads(init_body(a_function(code=""), {}))["value"]["code"] == ""


def test_lone_surrogates_reach_the_container() -> None:
    variables = environment_of(ASKED, PARAMETER='"\\ud800"')

    body = init_body(a_function(), variables)

    assert json.loads(body)["value"]["env"]["PARAMETER"] == "\ud800"


# --- the caller's key ------------------------------------------------------------------------------------------------


def test_every_field_of_the_key_is_shown() -> None:
    request = with_key('{"api_key":"a:b","tenant":"t-1"}')

    variables = environment_of(request)
    body = sent(request)

    assert (variables["__OW_API_KEY"], variables["__OW_TENANT"]) == ("a:b", "t-1")
    assert (body["api_key"], body["tenant"]) == ("a:b", "t-1")


def test_no_field_of_the_key_is_shown_to_a_function_that_may_not_see_it() -> None:
    function = a_function(provide_api_key=False)
    request = with_key('{"api_key":"a:b","tenant":"t-1"}')

    assert not environment_of(request, function).keys() & {"__OW_API_KEY", "__OW_TENANT"}
    assert not sent(request, function=function).keys() & {"api_key", "tenant"}


@pytest.mark.parametrize("authkey", ['{"n":1e3,"none":null,"list":[1, 2],"lone":"\\ud800"}'])
def test_fields_of_the_key_are_always_texts(authkey: str) -> None:
    request = with_key(authkey)

    body = sent(request)

    assert (body["n"], body["none"], body["list"], body["lone"]) == ("1E+3", "", "[1,2]", "\ud800")
    assert environment_of(request)["__OW_LIST"] == "[1,2]"


@pytest.mark.parametrize("field", ["namespace", "NAMESPACE", "Namespace"])
def test_no_field_of_the_key_replaces_the_context(field: str) -> None:
    request = with_key(json.dumps({field: "root"}))

    assert environment_of(request)["__OW_NAMESPACE"] == "zoe"
    assert sent(request)["namespace"] == "zoe"


def test_no_field_of_the_key_replaces_the_arguments() -> None:
    assert sent(with_key('{"value":"forged"}'), b'{"n":1}')["value"] == {"n": 1}


# --- run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [RESIZE, a_function(provide_api_key=False)])
def test_all_context_is_text(function: Function) -> None:
    body = sent(ASKED, function=function)

    del body["value"]
    assert {type(each) for each in body.values()} == {str}


def test_the_namespace_is_the_callers_and_the_name_has_a_leading_slash() -> None:
    body = sent(ASKED)

    assert (body["namespace"], body["action_name"]) == ("zoe", "/acme/tools/resize")


@pytest.mark.parametrize("value", [b'{"n": 1.10, "e": 1E400, "lone": "\\ud800"}', b'[1,2,{"n":3}]', b"{}"])
def test_the_arguments_are_sent_as_they_came(value: bytes) -> None:
    body = run_body(ASKED, Raw(value), RESIZE, deadline=1)

    assert body.startswith(b'{"value":' + value + b",")
