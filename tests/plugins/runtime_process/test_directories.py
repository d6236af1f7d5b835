"""Working directories, and what becomes of those whose supervisor has died."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from invoker_process.directories import PREFIX, WorkingDirectories, delete, remaining, sweep
from tests.plugins.runtime_process.actions import watching

KEEPER = """
import sys, types
package = types.ModuleType("invoker_process")
package.__path__ = [sys.argv[1]]
sys.modules["invoker_process"] = package
from pathlib import Path
from invoker_process.directories import WorkingDirectories
directories = WorkingDirectories(Path(sys.argv[2]))
directories.make(1)
print(directories.path, flush=True)
sys.stdin.read()
"""


def keeper(base: Path) -> subprocess.Popen[str]:
    """A process that has working directories, as a supervisor does."""
    package = Path(sys.modules["invoker_process"].__file__ or "").parent
    command = [sys.executable, "-I", "-c", KEEPER, str(package), str(base)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def path_of(keeper: subprocess.Popen[str]) -> Path:
    assert keeper.stdout is not None
    return Path(keeper.stdout.readline().strip())


def a_daemon(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "3600"], env=environment, start_new_session=True)


def test_working_directories_are_private_and_made_if_need_be(tmp_path: Path) -> None:
    with keeper(tmp_path / "new" / "base") as supervisor:
        path = path_of(supervisor)

        assert path.parent == tmp_path / "new" / "base"
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "1").stat().st_mode & 0o777 == 0o700
        supervisor.kill()


def test_those_of_a_living_supervisor_are_left_alone(tmp_path: Path) -> None:
    with keeper(tmp_path) as supervisor:
        path = path_of(supervisor)
        with a_daemon({"HOME": f"{path}/1"}) as daemon, watching([daemon.pid]) as watch:
            sweep(tmp_path)

            assert path.exists()
            assert watch.running() == {daemon.pid}
            daemon.kill()
        supervisor.kill()


def test_those_of_a_dead_supervisor_are_removed_with_its_processes(tmp_path: Path) -> None:
    with keeper(tmp_path) as supervisor:
        path = path_of(supervisor)
        supervisor.kill()
    with (
        a_daemon({"HOME": f"{path}/1"}) as daemon,
        a_daemon({"HOME": str(tmp_path)}) as stranger,
        watching([daemon.pid, stranger.pid]) as watch,
    ):
        assert list(remaining(path)) == [daemon.pid]

        sweep(tmp_path)

        assert watch.running() == {stranger.pid}
        assert not path.exists()
        stranger.kill()


def test_what_only_looks_like_working_directories_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / f"{PREFIX}without-lock").mkdir()
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other")
    before = sorted(tmp_path.iterdir())

    sweep(tmp_path)

    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_names_another_control_group_is_not_believed(tmp_path: Path) -> None:
    with keeper(tmp_path) as supervisor:
        path = path_of(supervisor)
        supervisor.kill()
    other = tmp_path / "group"
    other.mkdir()
    (other / "cgroup.procs").write_text(str(os.getpid()))
    (path / "cgroups").write_text(str(other))

    sweep(tmp_path)

    assert other.exists()
    assert not path.exists()


def test_they_can_be_made_where_others_are(tmp_path: Path) -> None:
    first, second = WorkingDirectories(tmp_path), WorkingDirectories(tmp_path)

    assert first.path != second.path
    delete(first.path)
    delete(second.path)
    assert list(tmp_path.iterdir()) == []


def test_those_that_were_cleared_away_are_made_again(tmp_path: Path) -> None:
    directories = WorkingDirectories(tmp_path)
    delete(directories.path)

    directory = directories.make(7)

    assert directory.is_dir()
    sweep(tmp_path)  # which another supervisor does when it starts
    assert directory.is_dir()
    delete(directories.path)


def test_a_base_that_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="File exists"):
        WorkingDirectories(tmp_path / "file")


def test_a_deep_tree_is_deleted(tmp_path: Path) -> None:
    depth = 1500  # more than Python may recurse, and within what a path may be long
    (tmp_path / "tree").mkdir()
    here = Path.cwd()
    os.chdir(tmp_path / "tree")
    try:
        for _ in range(depth):
            Path("d").mkdir()
            os.chdir("d")
        Path("file").touch()
    finally:
        os.chdir(here)

    delete(tmp_path / "tree")

    assert not (tmp_path / "tree").exists()


def test_links_are_deleted_and_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(kept)
    (tree / "broken").symlink_to("nowhere")

    delete(tree)

    assert not tree.exists()
    assert (kept / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody whom permissions stop")
def test_a_tree_without_permissions_is_deleted_by_its_owner(tmp_path: Path) -> None:
    base = tmp_path
    while base != base.parent and base.parent != Path("/"):  # so that somebody else may come here
        base.chmod(0o755)
        base = base.parent
    tree = tmp_path / "tree"
    (tree / "closed" / "deeper").mkdir(parents=True)
    (tree / "closed" / "deeper" / "file").touch()
    for path in (tmp_path, tree, tree / "closed", tree / "closed" / "deeper"):
        os.chown(path, 65534, 65534)
    (tree / "closed" / "deeper").chmod(0)
    (tree / "closed").chmod(0o500)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            delete(tree)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert not tree.exists()


def test_deleting_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    delete(tmp_path / "nothing")

    assert list(tmp_path.iterdir()) == []
