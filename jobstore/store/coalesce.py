"""Knows how to turn many concurrent questions into few queries; must not know what is asked.

Questions that arrive while a query runs wait for the next one. So an answer is always from a query that began after the
question was put, and there are no timers. Before each query the loop turns once: whoever it hears in that turn is asked
for too. A poll of many takes a tenth less for that, as each query costs as much as several polls.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST: Final = 64  # questions a query: one that answers all of a hundred leaves nobody to ask while it is answered


class Coalescer(Generic[K, V]):
    """Answers questions with `load`, which is given many keys and gives what it found of them. `rest` is called when
    there are no questions for now."""

    def __init__(
        self, load: Callable[[list[K]], Awaitable[dict[K, V]]], rest: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._load = load
        self._rest = rest
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, key: K) -> "asyncio.Future[V | None]":
        """What is found under `key` from now on. The future raises what `load` raises."""
        if self._loop is None:  # kept: to ask for the running loop is a call of the operating system
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = self._loop.create_future()
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = [future]
            if self._task is None:
                self._task = asyncio.create_task(self._run())
        else:
            waiting.append(future)
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)
                keys = list(self._waiting)[:MOST]
                asked = {key: self._waiting.pop(key) for key in keys}
                try:
                    found = await self._load(keys)
                except Exception as error:
                    for futures in asked.values():
                        for future in futures:
                            if not future.done():
                                future.set_exception(error)
                    continue
                for key, futures in asked.items():
                    value = found.get(key)
                    for future in futures:
                        if not future.done():
                            future.set_result(value)
        finally:
            self._task = None
            if self._rest is not None:
                await self._rest()
