"""Knows how lines get to whoever reads them, one by one and without ever keeping the loop waiting."""

import asyncio
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Final

PIECE: Final = 4096  # bytes that a pipe with room takes at once: PIPE_BUF


class Unread(Exception):
    """Nobody reads any more."""


class Output:
    """Standard output, past all buffers: so nothing is left in one when the reader goes, or the command is told to."""

    def __init__(self) -> None:
        self._fd = sys.stdout.fileno()
        mode = os.fstat(self._fd).st_mode
        self._piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self.is_terminal = os.isatty(self._fd)

    async def line(self, text: bytes) -> None:
        """Write a line, when there is room for it. Raises Unread."""
        rest = text + b"\n"
        while rest:
            if self._piped:
                await self._room()
            try:
                rest = rest[os.write(self._fd, rest[:PIECE]) :]
            except BrokenPipeError:
                raise Unread from None

    def watch(self, gone: Callable[[], None]) -> None:
        """Call `gone` when the reader of a pipe goes, even if there is nothing to write."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.remove_reader(self._fd)
            gone()

        if self._piped:
            loop.add_reader(self._fd, hear)

    async def _room(self) -> None:
        if select.select([], [self._fd], [], 0)[1]:
            return
        loop, room = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._fd, room.set)
        try:
            await room.wait()
        finally:
            loop.remove_writer(self._fd)
