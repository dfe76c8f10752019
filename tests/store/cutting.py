"""Knows how to lose a connection to Postgres at one exact moment: a relay that cuts when it hears a certain word."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

PORT = ".s.PGSQL.5432"

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Relay:
    """Stands between a node and Postgres. `lose` is a word of Postgres: what it says from there on is never heard,
    though it has happened. `drop` is a word of the node: it never arrives. Each cuts once, every connection there is.
    `open` lets new connections through; cleared, they wait."""

    def __init__(self, connect: Connect) -> None:
        self.lose: bytes | None = None
        self.drop: bytes | None = None
        self.cuts = 0
        self.open = asyncio.Event()
        self.open.set()
        self._connect = connect
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until it is cut or over."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._streams.add(writer)
        try:
            await self.open.wait()
            server_reader, server_writer = await self._connect()
            self._streams.add(server_writer)
            done = [
                asyncio.create_task(self._carry(reader, server_writer, "drop")),
                asyncio.create_task(self._carry(server_reader, writer, "lose")),
            ]
            await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.cancel()
            server_writer.transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(2**20):
                word = getattr(self, way)
                if word is not None and word in chunk:
                    setattr(self, way, None)
                    self.cut()
                    return
                sink.write(chunk)
                await sink.drain()

    def cut(self) -> None:
        """End every connection, without a word."""
        self.cuts += 1
        for stream in self._streams:
            stream.transport.abort()
        self._streams.clear()

    async def end(self) -> None:
        """Let nothing go on."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relayed(dsn: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay in front of the database, and the address through it."""
    parts = urlsplit(dsn)
    if parts.hostname is None:
        path = Path(parse_qs(parts.query)["host"][0]) / PORT
        connect: Connect = partial(asyncio.open_unix_connection, str(path))
    else:
        connect = partial(asyncio.open_connection, parts.hostname, parts.port)
    with tempfile.TemporaryDirectory(dir="/tmp") as here:
        relay = Relay(connect)
        server = await asyncio.start_unix_server(relay.accept, str(Path(here) / PORT))
        try:
            login = parts.netloc.rpartition("@")[0]
            yield relay, urlunsplit(parts._replace(netloc=f"{login}@", query=f"host={quote(here, safe='')}"))
        finally:
            server.close()
            await relay.end()
