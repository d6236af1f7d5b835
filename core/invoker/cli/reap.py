"""`invoker reap`: remove the containers that an invoker which was killed has left."""

from collections.abc import Sequence

import click

from invoker.cli.program import CommandLine, run_loop
from invoker.cli.terminal import json_option, tell
from invoker.config import RolesSettings


@click.command()
@click.option("--force", is_flag=True, help="Also what an invoker of this name with another state directory has.")
@json_option
@click.pass_obj
def reap(program: CommandLine, *, force: bool, as_json: bool) -> None:
    """Remove containers that an earlier life of this invoker has left, without running it.

    `invoker run` does the same as it starts. Containers of other invokers are left alone, and while this one runs
    nothing is removed. Those of one with the same node.id and node.unique_name, and another node.state_dir, are named;
    make sure that it runs no more before you remove them by --force.

    Exit codes: 0 nothing is left, 1 it did not work, 2 wrong settings, or this invoker runs.
    """
    runtime = program.settings[RolesSettings].runtime
    swept = run_loop(_swept(program, force=force))
    if swept is None:
        words = f"nothing can be left: containers of the runtime {runtime!r} end with their invoker"
    else:
        words = "\n".join(f"removed {name}" for name in swept) or "nothing was left"
    tell({"runtime": runtime, "sweeps": swept is not None, "removed": swept or []}, words, as_json=as_json)


async def _swept(program: CommandLine, *, force: bool) -> Sequence[str] | None:
    """Remove containers of an earlier life; return their names, `None` if there can be none."""
    async with program.plugins.container_runtime(program.settings) as runtime:
        return await runtime.sweep(force=force)
