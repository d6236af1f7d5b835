"""Where containers live: what each of them needs of its surroundings."""

import asyncio
from dataclasses import dataclass

from invoker_docker.disposal import Disposal
from invoker_docker.engine import Engine
from invoker_docker.health import Health


@dataclass(frozen=True, slots=True)
class Site:
    """One engine, and whoever looks after it."""

    engine: Engine
    health: Health
    disposal: Disposal
    tasks: asyncio.TaskGroup
    """Of the runtime: what a container does in the background runs here."""
