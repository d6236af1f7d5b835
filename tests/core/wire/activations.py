"""Activations of the specification, and what is stored of them."""

import json
from typing import Any

from invoker.config import Compat
from invoker.entities.activation import Activation
from invoker.entities.function import Limits
from invoker.testing.builders import an_outcome
from invoker.wire.record import recorded

RESIZED = Activation(
    activation_id="3f2a9c5d7e1b48068a4d2c6e90b1f735",
    namespace="zoe",
    subject="zoe-subject",
    path="acme/tools/resize",
    name="resize",
    version="0.0.7",
    kind="nodejs:20",
    limits=Limits(timeout=60000, memory=256, logs=10, concurrency=1),
    outcome=an_outcome(b'{"ok":true}'),
    start=1790000000180,
    end=1790000000420,
    wait_time=57,
    init_time=90,
    binding="zoe/mytools",
    logs=("2026-09-21T14:13:20.310455Z    stdout: resized",),
)
STORED = """{"_id":"zoe/3f2a9c5d7e1b48068a4d2c6e90b1f735","entityType":"activation","updated":1790000000425,
 "namespace":"zoe","name":"resize","version":"0.0.7","publish":false,"subject":"zoe-subject",
 "activationId":"3f2a9c5d7e1b48068a4d2c6e90b1f735","start":1790000000180,"end":1790000000420,"duration":240,
 "response":{"statusCode":0,"result":{"ok":true},"size":11},
 "logs":["2026-09-21T14:13:20.310455Z    stdout: resized"],
 "annotations":[{"key":"path","value":"acme/tools/resize"},{"key":"kind","value":"nodejs:20"},{"key":"timeout","value":false},
  {"key":"waitTime","value":57},{"key":"initTime","value":90},{"key":"binding","value":"zoe/mytools"},
  {"key":"limits","value":{"timeout":60000,"memory":256,"logs":10,"concurrency":1}}]}"""


def stored(activation: Activation, compat: Compat = "openwhisk") -> dict[str, Any]:
    """Return what is stored of an activation."""
    parsed: dict[str, Any] = json.loads(recorded(activation, compat=compat, updated=1790000000425).document)
    return parsed
