"""Which invokers run, as others can see it: while they live, and no longer."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from invoker.config import NodeSettings
from invoker.presence import Presence, announced, present

URL = "http://127.0.0.1:8081"

LIVES_UNTIL_IT_IS_KILLED = """
import sys
from pathlib import Path
from invoker.config import NodeSettings
from invoker.presence import announced
with announced(NodeSettings(state_dir=Path(sys.argv[1])), "invoker7", "http://127.0.0.1:7777"):
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def node(tmp_path: Path) -> NodeSettings:
    return NodeSettings(state_dir=tmp_path / "state")


def files(node: NodeSettings) -> list[Path]:
    assert node.state_dir is not None
    return [path for path in node.state_dir.rglob("*") if path.is_file()]


def killed(node: NodeSettings) -> Presence:
    """Have another process announce itself, and kill it; return what it had announced."""
    command = [sys.executable, "-c", LIVES_UNTIL_IT_IS_KILLED, str(node.state_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        (found,) = present(node)
        assert found.pid == process.pid
        process.send_signal(signal.SIGKILL)
    return found


def test_an_invoker_is_there_while_it_runs(node: NodeSettings) -> None:
    before = present(node)
    with announced(node, "invoker0", URL):
        during = present(node)
    after = present(node)

    assert during == [Presence(name="invoker0", pid=os.getpid(), operators=URL)]
    assert before == after == []
    assert files(node) == []


def test_it_is_gone_when_it_fails_as_well(node: NodeSettings) -> None:
    with pytest.raises(LookupError), announced(node, "invoker0", URL):
        raise LookupError

    assert present(node) == []
    assert files(node) == []


def test_several_are_told_apart(node: NodeSettings) -> None:
    with announced(node, "invoker0", URL), announced(node, "invoker1", None):
        found = present(node)

    assert {one.name: one.operators for one in found} == {"invoker0": URL, "invoker1": None}


def test_one_that_was_killed_is_gone(node: NodeSettings) -> None:
    assert killed(node).name == "invoker7"

    assert present(node) == []


def test_what_a_killed_one_left_is_removed_by_the_next(node: NodeSettings) -> None:
    killed(node)
    left = files(node)

    with announced(node, "invoker0", URL), announced(node, "invoker1", URL):
        kept = files(node)

    assert len(left) == 1
    assert len(kept) == 2
    assert not set(left) & set(kept)


def test_only_its_user_can_read_where_it_is(node: NodeSettings) -> None:
    with announced(node, "invoker0", URL):
        (file,) = files(node)
        mode = file.parent.stat().st_mode & 0o777

    assert mode == 0o700


def test_a_file_of_another_kind_is_passed_over(node: NodeSettings) -> None:
    with announced(node, "invoker0", URL):
        (file,) = files(node)
        file.write_bytes(b"{")

        assert present(node) == []


def test_without_a_place_to_tell_it_an_invoker_runs_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    node = NodeSettings(state_dir=tmp_path / "file" / "state")

    with caplog.at_level(logging.WARNING), announced(node, "invoker0", URL):
        found = present(node)

    assert found == []
    assert "`invoker pool` must be given --url" in caplog.text
