"""The longest time between two turns of the event loop: what one abuses, all others wait for.

It is the process's own time, of all its threads: what the machine does for others meanwhile says nothing of us.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STALL = 0.1
"""Seconds that nothing may hold the loop, far above the noise of a shared machine; 10 ms are the aim."""
_TICK = 0.002


@asynccontextmanager
async def never_held(limit: float = STALL) -> AsyncIterator[None]:
    """Fail if the loop was held for longer than `limit` seconds while the block ran."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        last = time.process_time()
        while True:
            await asyncio.sleep(_TICK)
            now = time.process_time()
            longest = max(longest, now - last)
            last = now

    gc.collect()
    gc.freeze()  # as the program does: what pytest holds takes a collection 100 ms
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(2 * _TICK)
    try:
        yield
        await asyncio.sleep(2 * _TICK)
    finally:
        ticking.cancel()
        gc.unfreeze()
    assert longest < limit, f"the event loop was held for {longest * 1000:.0f} ms"
