"""Knows how to be a thousand readers of server-sent events in one process that does nothing but read and count."""

import multiprocessing
import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

BUFFER = 2**18


class Audience:
    """Readers in a process of their own; this is the other end of its pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def expect(self, events: int) -> None:
        """Begin to wait until every reader has this many more events."""
        self._pipe.send(events)

    def seen(self) -> list[float]:
        """When the last reader had the first event, the second, and so on: `time.monotonic()` seconds."""
        if not self._pipe.poll(120):
            raise TimeoutError("the readers still wait for an event")
        times: list[float] = self._pipe.recv()
        return times


@contextmanager
def audience(port: int, request: bytes, readers: int) -> Iterator[Audience]:
    """So many readers, each of which has been answered."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_read, args=(port, request, readers, theirs))
    child.start()
    try:
        if not ours.poll(60) or ours.recv() != "ready":
            raise RuntimeError("the readers were not let in")
        yield Audience(ours)
    finally:
        child.kill()
        child.join()


def _read(port: int, request: bytes, readers: int, pipe: Connection) -> None:
    sockets = [_enter(port, request) for _ in range(readers)]
    poll = select.epoll()
    for member in sockets:
        poll.register(member.fileno(), select.EPOLLIN)
    time.sleep(0.5)
    for member in sockets:
        _clear(member)
    ended_with = dict.fromkeys((member.fileno() for member in sockets), b"")
    pipe.send("ready")
    ahead = 0
    while True:
        events = pipe.recv()
        seen = ahead
        times: list[float] = []
        while len(times) < events:
            for number, _ in poll.poll():
                data = os.read(number, BUFFER)
                if not data:
                    raise ConnectionError("the server closed a feed")
                seen += _ends(ended_with[number], data)
                ended_with[number] = data[-1:]
            while len(times) < events and seen >= readers * (len(times) + 1):
                times.append(time.monotonic())
        ahead = seen - readers * events
        pipe.send(times)


def _enter(port: int, request: bytes) -> socket.socket:
    """A connection whose answer's head was read."""
    member = socket.create_connection(("127.0.0.1", port))
    member.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        head += member.recv(BUFFER)
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.decode(errors="replace"))
    member.setblocking(False)
    return member


def _clear(member: socket.socket) -> None:
    """Forget what comes before the first event, such as `retry`."""
    with suppress(BlockingIOError):
        while member.recv(BUFFER):
            pass


def _ends(before: bytes, data: bytes) -> int:
    """How many events end in `data`, which follows `before`."""
    return data.count(b"\n\n") + (before == b"\n" and data[:1] == b"\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
