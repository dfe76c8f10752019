"""Knows how many callers ask at once, each waiting for its answer before it asks again; must not know what for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

WARM: Final = 6  # calls a caller before time is taken: psycopg prepares a statement at its sixth execution


async def asked(call: Callable[[int], Awaitable[object]], concurrency: int, count: int) -> None:
    """Make `count` calls with `concurrency` callers. Every call has a number."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def called(call: Callable[[int], Awaitable[object]], concurrency: int, count: int) -> float:
    """Calls a second, of `count` with `concurrency` callers, on connections that are warm."""
    await asked(call, concurrency, concurrency * WARM)
    begin = time.perf_counter()
    await asked(call, concurrency, count)
    return count / (time.perf_counter() - begin)
