"""Knows how to load an HTTP server from one process that costs little: prepared requests, answers counted by length."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


def request(path: str, key: str | None = None, *headers: str) -> bytes:
    """A GET, ready to send."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, key: str | None = None, *, type: str = "application/json") -> bytes:
    """A POST, ready to send."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {type}", f"Content-Length: {len(body)}"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Visitor(asyncio.Protocol):
    """One connection that sends its next request when it has the answer to the last."""

    def __init__(self, requests: Iterator[bytes], status: bytes, left: list[int], done: asyncio.Future[None]) -> None:
        self._requests = requests
        self._status = status
        self._left = left
        self._done = done
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return
        length = _LENGTH.search(data, 0, end)
        if len(data) < end + 4 + (int(length[1]) if length else 0):
            self._rest = data
            return
        if data[9:12] != self._status:
            self._fail(RuntimeError(data[:300].decode(errors="replace")))
            return
        self._rest = b""
        self._left[0] -= 1
        if self._left[0] > 0:
            self._send()
        elif self._left[0] == 0:
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        self._transport.close()

    def _send(self) -> None:
        self._transport.write(next(self._requests))

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)


async def rate(port: int, requests: Sequence[bytes], *, count: int, connections: int, status: int = 200) -> float:
    """Answers a second, over `count` requests on `connections` connections that are kept open. Requests go in turn, to
    whichever connection is free."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    left = [count]
    visitors = []
    begin = time.perf_counter()
    turns = itertools.cycle(requests)
    for _ in range(connections):
        _, visitor = await loop.create_connection(
            partial(_Visitor, turns, b"%d" % status, left, done), "127.0.0.1", port
        )
        visitors.append(visitor)
    await done
    seconds = time.perf_counter() - begin
    for visitor in visitors:
        visitor.close()
    return count / seconds
