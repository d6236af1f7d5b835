"""Every text that a function's user may read, byte for byte: spec 11.1 and 11.2.

Fill in with the methods, never with `format`: what functions say is data, not a pattern.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from invoker.config import Compat


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one family of controllers."""

    abnormal_init: str
    abnormal_run: str
    memory_exhausted: str
    not_found: str
    incompatible: str
    fetch_failed: str
    provision_failed: str
    blocked: str = "The action was not invoked due to a blacklisted namespace."
    log_failure: str
    """Log line where the end of output was awaited in vain."""
    log_warning: str
    """Last log line after a developer error; empty where it repeats the error instead (spec 9.11.16)."""
    noun: str
    """What a function is called in the texts that are put together here."""
    json_forms: str

    def timed_out(self, milliseconds: int, *, init: bool) -> str:
        """The time limit was reached, in `/init` or in `/run`."""
        during = " during initialization" if init else ""
        return f"The {self.noun} exceeded its time limits of {milliseconds} milliseconds{during}."

    def truncated(self, length: int, allowed: int, text: str) -> str:
        """The response was longer than `allowed` bytes; `text` is what was kept."""
        return (
            f"The {self.noun} produced a response that exceeded the allowed length: "
            f"{length:d} > {allowed:d} bytes. The truncated response was: {text}"  # a `ByteSize` would say "1 MB bytes"
        )

    def invalid_init(self, body: str) -> str:
        """`/init` failed and said why in its own way."""
        return f"The {self.noun} failed during initialization" + _after(body)

    def invalid_run(self, body: str) -> str:
        """`/run` answered what is no result."""
        return f"The {self.noun} did not produce a valid {self.json_forms} response" + _after(body)

    def image_pull_failed(self, image: str) -> str:
        """A user's image can't be pulled."""
        return f"Failed to pull container image '{image}'."

    def failed_logs(self, error: str, *, awaited: bool, complete: bool) -> Sequence[str]:
        """Return the last log lines of a developer error (spec 9.11.7, 9.11.8; for `functions` 9.11.16)."""
        if self.log_warning:
            return (self.log_failure, self.log_warning) if awaited and not complete else (self.log_warning,)
        if complete:
            return ()
        return (f"{error.removesuffix('.')}. Logs might be missing." if error else self.log_failure,)

    def logs_truncated(self, limit: int) -> str:
        """Log line in place of all that came after `limit` bytes."""
        return f"Logs were truncated because the total bytes size exceeds the limit of {limit} bytes."

    def undecryptable(self, parameter: str) -> str:
        """A locked parameter can't be opened."""
        return f"Parameter {parameter} could not be decrypted."


def _after(body: str) -> str:
    """Spec 9.7.1: a colon and the body, or a full stop."""
    return f": {body}" if body else "."


OPENWHISK: Final = Messages(
    abnormal_init="The action did not initialize and exited unexpectedly.",
    abnormal_run="The action did not produce a valid response and exited unexpectedly.",
    memory_exhausted="The action exhausted its memory and was aborted.",
    not_found="Action could not be found or may have been deleted.",
    incompatible="Action version is not compatible and cannot be invoked.",
    fetch_failed="Action could not be fetched.",
    provision_failed="Failed to provision resources to run the action.",
    log_failure="There was an issue while collecting your logs. Data might be missing.",
    log_warning="The action did not initialize or run as expected. Log data might be missing.",
    noun="action",
    json_forms="JSON or JSON Array",
)

FUNCTIONS: Final = Messages(
    abnormal_init="The function did not initialize and exited unexpectedly.",
    abnormal_run="The function did not produce a valid response and exited unexpectedly.",
    memory_exhausted="The function exhausted its memory and was aborted.",
    not_found="Function could not be found or may have been deleted.",
    incompatible="Function could not be fetched.",
    fetch_failed="Function could not be fetched.",
    provision_failed="Failed to provision resources to run the function.",
    log_failure="There was an issue while collecting your logs. Logs might be missing.",
    log_warning="",
    noun="function",
    json_forms="JSON",
)


def messages(compat: Compat) -> Messages:
    """Return the texts of a compatibility mode."""
    return OPENWHISK if compat == "openwhisk" else FUNCTIONS
