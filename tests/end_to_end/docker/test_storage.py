"""What an action writes into its image's file system, where the engine's storage can bound that and where it can't."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.docker.own_engine import own_engine
from tests.end_to_end.docker.place import MB, DockerHome, invoke, running
from tests.end_to_end.functions import python
from tests.services.images import Images

WRITES = """
import errno
def main(args):
    try:
        with open("/var/tmp/file", "wb", buffering=0) as file:
            for _ in range(args["size"] >> 20):
                file.write(bytes(1 << 20))
    except OSError as error:
        return {"error number": errno.errorcode[error.errno]}
    return {"wrote": args["size"]}
"""


NAMES = ("writes", "other")


class Case(NamedTuple):
    system: str
    size: str
    result: object
    warnings: int


@pytest.mark.parametrize(
    "case",
    [
        Case("btrfs", "300 MB", {"error number": "EDQUOT"}, 0),  # the image counts as well
        Case("xfs", "64 MB", {"wrote": 250 * MB}, 1),  # the engine says only when it is asked that it can't
    ],
)
async def test_what_an_action_writes_is_bounded_or_else_it_is_told_once_that_it_is_not(
    docker: str, odd: dict[str, str], docker_images: Images, absent: Callable[[str], None], tmp_path: Path, case: Case
) -> None:
    with own_engine(docker, odd["plain"], absent, case.system) as engine, engine.namespace.entered():
        home = DockerHome(tmp_path, engine.url, docker_images, storage=case.size)
        home.offer({"python:3": odd["plain"]})
        home.put(*(python(name, WRITES, memory=512) for name in NAMES))
        async with running(home) as program:
            ends = [await invoke(program, name, {"size": 250 * MB}) for name in NAMES]
            told = [text for text in program.log.messages() if "nothing bounds what an action writes" in text]
        assert home.engine.containers() == {}

    assert [ended.result for ended in ends] == [case.result] * 2
    assert len(told) == case.warnings
