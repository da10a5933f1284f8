"""Steps that are coroutines, run to their end where they are called."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any


def awaited(result: Any) -> Any:
    """What a step gives: of a coroutine what it returns, computed at once."""
    if not inspect.iscoroutine(result):
        return result
    # A notebook has a loop that runs already.  The coroutine gets its own, in the same thread, as viewers ask for.
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(result)
    finally:
        asyncio._set_running_loop(outer)
