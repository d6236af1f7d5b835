"""The messages of `upstream.jsonl`, by topic."""

import json
from pathlib import Path

LINES = [json.loads(line) for line in (Path(__file__).parent / "upstream.jsonl").read_text().splitlines()]


def messages(topic: str) -> list[bytes]:
    """Return the text of each message of a topic, in the order in which they were sent."""
    return [line["value"].encode() for line in LINES if line["topic"] == topic]
