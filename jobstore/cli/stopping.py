"""Knows how a command that goes on for ever is stopped: by Ctrl-C, by SIGTERM, or by nobody reading it any more. All of
these end it well."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

import uvloop

from jobstore.cli.output import Output, Unread

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Hears signals while it is entered. Before the work one ends the command, during it the work, afterwards nothing:
    the command is letting go of what it used, and should not be kept from it."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._stop: Callable[[], object] = lambda: sys.exit(0)

    def __enter__(self) -> Self:
        self._kept = [signal.signal(signum, self._hear) for signum in SIGNALS]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        for signum, handler in zip(SIGNALS, self._kept, strict=True):
            signal.signal(signum, handler)

    def run(self, work: Callable[[Output], Coroutine[Any, Any, None]]) -> None:
        """Do `work` until it is done or told to stop."""
        try:
            uvloop.run(self._until_stopped(work))
        finally:
            self._stop = _ignore

    def _hear(self, *_: object) -> None:
        stop, self._stop = self._stop, _ignore
        stop()

    async def _until_stopped(self, work: Callable[[Output], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work(output := Output()))
        self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
        output.watch(self._hear)
        with contextlib.suppress(asyncio.CancelledError, Unread):
            await task


def _ignore() -> None:
    """It is stopping already."""
