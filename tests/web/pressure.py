"""Puts a server under pressure: holds a log's end, sends more than is read, and watches how much the server takes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from jobstore.store import Store
from jobstore.store.request import Append
from tests.conftest import Client
from tests.web.wire import NDJSON, PATIENCE, key_of

STARTED = b'{"job": 1, "type": "started"}'


class Taken:
    """How much the server has read of a bulk: the requests that it gave to the ledger."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines = 0
        append = store.ledger.append

        def count(request: Append) -> Any:
            self.lines += 1
            return append(request)

        monkeypatch.setattr(store.ledger, "append", count)

    async def stops(self) -> int:
        """The count, when for half a second it has not risen."""
        before = -1
        async with asyncio.timeout(PATIENCE):
            while before != self.lines:
                before = self.lines
                await asyncio.sleep(0.5)
        return before


@asynccontextmanager
async def held(dsn: str) -> AsyncIterator[Callable[[], Any]]:
    """Somebody else holds the head of acme's log, so that nothing of acme's is answered until they are asked to go."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            "SELECT FROM heads JOIN accounts USING (account_id) WHERE name = 'acme' FOR UPDATE OF heads"
        )
        yield lambda: connection.execute("ROLLBACK")
    finally:
        await connection.close()


@asynccontextmanager
async def connected(
    client: Client, lines: Callable[[], Any], *, narrow: bool = False, ends: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, "asyncio.Task[None]"]]:
    """A POST /events that sends whatever `lines` yields, and whose answers nobody reads yet."""
    connection = socket.socket()
    if narrow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", client.http.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**14)

    async def send() -> None:
        writer.write(
            f"POST /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {await key_of(client)}\r\n"
            f"Content-Type: {NDJSON}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        )
        for data in lines():
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
        if ends:
            writer.write(b"0\r\n\r\n")

    sending = asyncio.create_task(send())
    try:
        yield reader, writer, sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


async def answers(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The answers, without what HTTP puts around them."""
    while line := await reader.readline():
        if line.startswith(b"{"):
            yield json.loads(line)
