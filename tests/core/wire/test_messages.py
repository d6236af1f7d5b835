"""The texts that functions' users read: spec 11.1 and 11.2, one by one."""

import pytest

from invoker.wire.messages import FUNCTIONS, OPENWHISK, messages

OPENWHISK_TEXTS = [
    (OPENWHISK.abnormal_init, "The action did not initialize and exited unexpectedly."),
    (OPENWHISK.abnormal_run, "The action did not produce a valid response and exited unexpectedly."),
    (OPENWHISK.memory_exhausted, "The action exhausted its memory and was aborted."),
    (OPENWHISK.invalid_init(""), "The action failed during initialization."),
    (OPENWHISK.invalid_init("no"), "The action failed during initialization: no"),
    (OPENWHISK.invalid_run(""), "The action did not produce a valid JSON or JSON Array response."),
    (OPENWHISK.invalid_run("no"), "The action did not produce a valid JSON or JSON Array response: no"),
    (
        OPENWHISK.truncated(12, 10, "0123456789"),
        (
            "The action produced a response that exceeded the allowed length: 12 > 10 bytes. "
            "The truncated response was: 0123456789"
        ),
    ),
    (OPENWHISK.timed_out(100, init=False), "The action exceeded its time limits of 100 milliseconds."),
    (
        OPENWHISK.timed_out(100, init=True),
        "The action exceeded its time limits of 100 milliseconds during initialization.",
    ),
    (OPENWHISK.blocked, "The action was not invoked due to a blacklisted namespace."),
    (OPENWHISK.not_found, "Action could not be found or may have been deleted."),
    (OPENWHISK.incompatible, "Action version is not compatible and cannot be invoked."),
    (OPENWHISK.fetch_failed, "Action could not be fetched."),
    (OPENWHISK.image_pull_failed("foo/bar"), "Failed to pull container image 'foo/bar'."),
    (OPENWHISK.provision_failed, "Failed to provision resources to run the action."),
    (
        OPENWHISK.logs_truncated(1048576),
        "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.",
    ),
    (OPENWHISK.log_failure, "There was an issue while collecting your logs. Data might be missing."),
    (OPENWHISK.log_warning, "The action did not initialize or run as expected. Log data might be missing."),
]

FUNCTIONS_TEXTS = [
    (FUNCTIONS.fetch_failed, "Function could not be fetched."),
    (FUNCTIONS.not_found, "Function could not be found or may have been deleted."),
    (FUNCTIONS.provision_failed, "Failed to provision resources to run the function."),
    (FUNCTIONS.abnormal_init, "The function did not initialize and exited unexpectedly."),
    (FUNCTIONS.abnormal_run, "The function did not produce a valid response and exited unexpectedly."),
    (FUNCTIONS.memory_exhausted, "The function exhausted its memory and was aborted."),
    (FUNCTIONS.log_failure, "There was an issue while collecting your logs. Logs might be missing."),
    (
        FUNCTIONS.timed_out(100, init=True),
        "The function exceeded its time limits of 100 milliseconds during initialization.",
    ),
    (FUNCTIONS.timed_out(100, init=False), "The function exceeded its time limits of 100 milliseconds."),
    (
        FUNCTIONS.truncated(12, 10, "0123456789"),
        (
            "The function produced a response that exceeded the allowed length: 12 > 10 bytes. "
            "The truncated response was: 0123456789"
        ),
    ),
    (
        FUNCTIONS.logs_truncated(1024),
        "Logs were truncated because the total bytes size exceeds the limit of 1024 bytes.",
    ),
    (FUNCTIONS.invalid_run("no"), "The function did not produce a valid JSON response: no"),
]


@pytest.mark.parametrize(("text", "expected"), OPENWHISK_TEXTS)
def test_upstreams_texts_are_exact(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(("text", "expected"), FUNCTIONS_TEXTS)
def test_the_go_variants_texts_are_exact(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("said", ["{0} {noun} %s %(x)d", "\n", "{", "é😀"])
def test_what_a_function_says_is_no_pattern(said: str) -> None:
    assert OPENWHISK.invalid_run(said) == f"The action did not produce a valid JSON or JSON Array response: {said}"
    assert OPENWHISK.invalid_init(said) == f"The action failed during initialization: {said}"
    assert OPENWHISK.truncated(2, 1, said).endswith(f"The truncated response was: {said}")
    assert OPENWHISK.image_pull_failed(said) == f"Failed to pull container image '{said}'."
    assert OPENWHISK.undecryptable(said) == f"Parameter {said} could not be decrypted."


def test_each_compatibility_mode_has_its_own_texts() -> None:
    assert messages("openwhisk") is OPENWHISK
    assert messages("functions") is FUNCTIONS
