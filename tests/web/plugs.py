"""Ends that tests hold themselves: a tail that says what it is told to, and connections that go nowhere."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from jobstore.store.history import Entry
from jobstore.web.channel import Reader, Wish

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)


class HandTail:
    """Follows logs that are made up: `say` tells what came."""

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.listeners: list[Callable[[Sequence[Entry]], None]] = []

    async def follow(self, account_id: int, listener: Callable[[Sequence[Entry]], None]) -> int:
        self.listeners.append(listener)
        return self.position

    def unfollow(self, account_id: int, listener: Callable[[Sequence[Entry]], None]) -> None:
        self.listeners.remove(listener)

    def say(self, *entries: Entry) -> None:
        self.position = entries[-1].position
        for listener in list(self.listeners):
            listener(entries)


class Wire(asyncio.Transport):
    """A connection; `unread` is how many bytes nobody has taken from it: of a `slow` one, all that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []
        self.asked = 0
        self.unread = 0
        self.slow = False
        self.closing = False

    def write(self, data: Any) -> None:
        if self.closing:
            raise RuntimeError("the connection is closed")
        self.asked += 1
        self.written.append(data)
        if self.slow:
            self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        self.asked += 1
        return self.unread

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


def entry(position: int, job: int = 1, version: int | None = None, type: str = "annotated", data: str = "{}") -> Entry:
    """An event, of which the log is at `position`."""
    return Entry(position, job, position if version is None else version, type, AT, data, "acme/test", None)


def reader(wish: Wish | None = None, key: str = "") -> tuple[Reader, Wire]:
    """Someone with this wish, or who wants all, and the connection."""
    wire = Wire()
    return Reader(wire, wish or Wish(), key), wire
