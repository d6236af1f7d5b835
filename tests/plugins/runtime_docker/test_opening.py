"""What is told about an engine as it is opened, and what to do about it."""

import errno
import os
from typing import Any, cast

import aiohttp
import pytest

from invoker_docker.answers import answered
from invoker_docker.engine import EngineDown, connected
from invoker_docker.settings import DockerSettings
from tests.plugins.runtime_docker.stand_in import says, stand_in


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOENT, r"No such file or directory \(start the engine, or set docker\.url\)"),
        (errno.ECONNREFUSED, r"Connection refused \(start the engine, or set docker\.url\)"),
        (
            errno.EACCES,
            r"Permission denied \(let the invoker's user use it, as members of the group docker may, or set",
        ),
        (errno.ENETUNREACH, "Network is unreachable$"),
    ],
)
async def test_an_engine_that_can_not_be_reached_is_told_with_the_way_out(number: int, way_out: str) -> None:
    refusal = aiohttp.ClientConnectorError(cast("Any", None), OSError(number, os.strerror(number)))

    with pytest.raises(EngineDown, match=f"^version: can't connect: {way_out}"):
        async with answered("version", 1):
            raise refusal


@pytest.mark.parametrize(
    ("there", "wanted", "lacks"),
    [
        ({"runc": {}, "runsc": {}}, "kata", True),
        ({"runc": {}, "runsc": {}}, "runsc", False),
        ({"runc": {}}, "io.containerd.kata.v2", False),  # Docker 23 takes shims that it doesn't list
        ({"runc": {}}, "/usr/bin/crun", False),  # podman takes a path
        (None, "kata", False),
        (["runc"], "kata", False),
    ],
)
async def test_an_oci_runtime_is_lacking_only_where_the_engine_tells(
    there: object, wanted: str, *, lacks: bool
) -> None:
    async with stand_in() as engine_there:
        engine_there.answers["GET /info"] = says({"CgroupVersion": "2", "Runtimes": there})
        async with connected(DockerSettings(url=engine_there.url)) as engine:
            assert engine.kind.lacks(wanted) == lacks
