"""Reads feeds by hand, over a connection of its own: the head, the chunks, the events, and how it ended."""

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.conftest import Client
from tests.web.eventstream import Event, Parser
from tests.web.wire import PATIENCE, key_of


class Feed:
    """A feed that is read, `after` a position. `clean` says, once it is over, whether it came to its proper end.

    `buffer` bounds the bytes that the client's side takes before anybody reads them.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        after: str | None = None,
        *,
        account: str = "acme",
        version: str = "1.1",
        buffer: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.parser = Parser()
        self.clean = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self._client = client
        self._line = f"GET {path} HTTP/{version}"
        self._account = account
        self._sent = {**({} if after is None else {"Last-Event-ID": after}), **(headers or {})}
        self._buffer = buffer
        self._events: list[Event] = []

    async def __aenter__(self) -> Self:
        key = await key_of(self._client, self._account)
        sent = {"Host": "test", "Authorization": f"Bearer {key}", **self._sent}
        connection = socket.socket()
        if self._buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._client.http.port))
        self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=self._buffer or 2**16)
        lines = [self._line, *(f"{name}: {value}" for name, value in sent.items())]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def opened(self) -> Self:
        """The feed, once its opening has been read: it is known then after which position it begins."""
        while not self.parser.last_event_id:
            assert await self._read(), "the feed ended before it began"
        return self

    async def next(self) -> Event:
        """The next event."""
        async with asyncio.timeout(PATIENCE):
            while not self._events:
                assert await self._read(), "the feed ended"
        return self._events.pop(0)

    async def take(self, count: int) -> list[Event]:
        """The next events."""
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[Event]:
        """All events that come before the feed ends."""
        async with asyncio.timeout(PATIENCE):
            while await self._read():
                pass
        events, self._events = self._events, []
        return events

    async def body(self) -> Any:
        """The body of an answer that is not a feed."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(int(self.headers["content-length"]))

    async def problem(self) -> dict[str, Any]:
        """The problem that was answered."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(await self.body())
        return problem

    async def _read(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                if self.headers.get("transfer-encoding") != "chunked":
                    data = await self._reader.read(2**16)
                    self.clean = not data
                else:
                    size = int(await self._reader.readuntil(b"\r\n"), 16)
                    data = (await self._reader.readexactly(size + 2))[:-2]
                    self.clean = not size
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        self._events += self.parser.feed(data)
        return not self.clean


def positions(events: list[Event]) -> list[int]:
    """Their ids, which are positions."""
    return [int(event.id) for event in events]
