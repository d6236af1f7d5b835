"""A process that shares a file with others. Each line on its standard input is a file to open and write to.

It answers each with one line of JSON: the ids of the records that are stored, and the revisions that it was given.
"""

import asyncio
import json
import sys
from pathlib import Path

from invoker import Settings
from invoker.config import Seconds
from invoker.testing.builders import a_function, an_activation, as_records
from invoker_sqlite import open_activation_store, open_function_store
from invoker_sqlite.settings import SqliteSettings

BATCHES = 10
RECORDS = 20


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def write(path: Path) -> dict[str, list[str]]:
    settings = Settings.of(SqliteSettings(path=path, busy_timeout=Seconds(60)))
    ids: list[str] = []
    revisions: list[str] = []
    async with open_activation_store(settings) as activations, open_function_store(settings) as functions:
        for _ in range(BATCHES):
            batch = [an_activation(logs=("hello",)) for _ in range(RECORDS)]
            await activations.put_many(as_records(batch))
            ids += [activation.activation_id for activation in batch]
            revisions.append(await functions.put(a_function(name="shared")))  # type: ignore[attr-defined]
    return {"ids": ids, "revisions": revisions}


async def write_until_killed(path: Path) -> None:
    """Print the id of each record once it is stored."""
    async with open_activation_store(Settings.of(SqliteSettings(path=path))) as activations:
        while True:
            activation = an_activation()
            await activations.put_many(as_records([activation]))
            say(activation.activation_id)


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(write_until_killed(Path(sys.argv[1])))
    for line in sys.stdin:
        say(json.dumps(asyncio.run(write(Path(line.rstrip("\n"))))))
