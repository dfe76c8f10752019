"""Knows how a client loses its server: a relay between them that breaks connections, and remembers what was asked."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_HEAD = re.compile(rb"([A-Z]+ [^\r\n]+\r\n(?:[^\r\n]+\r\n)*)\r\n")


class Relay:
    """Relays to the server at `port`. `lose` matches what the server is to say: that arrives, and nothing after it, as
    every connection ends. `asked` are the heads of the requests."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lose: re.Pattern[bytes] | None = None
        self.cuts = 0
        self.asked: list[str] = []
        self.address = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until it is cut or over."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.port)
            self._writers.add(server_writer)
            ways = [
                asyncio.create_task(self._carry_questions(reader, server_writer)),
                asyncio.create_task(self._carry_answers(server_reader, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            server_writer.close()
            self._writers.discard(server_writer)
        except OSError:
            pass  # there is no server at present
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    def times_asked(self, path: str) -> int:
        """How often this was asked for, whatever the query."""
        return sum(head.split(" ")[1].partition("?")[0] == path for head in self.asked)

    def cut(self) -> None:
        """End every connection; what is on its way arrives."""
        self.cuts += 1
        for writer in list(self._writers):
            writer.close()

    async def end(self) -> None:
        """Relay nothing any more."""
        while self._tasks:
            self.cut()
            await asyncio.wait(self._tasks)

    async def _carry_questions(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        heard = b""
        with suppress(ConnectionError):
            while data := await source.read(2**16):
                heard += data
                while (head := _HEAD.search(heard)) is not None:
                    self.asked.append(head[1].decode())
                    heard = heard[head.end() :]
                sink.write(data)

    async def _carry_answers(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        heard = b""
        with suppress(ConnectionError):
            while data := await source.read(2**16):
                before = len(heard)
                heard += data
                last = None if self.lose is None else self.lose.search(heard)
                if last is not None:
                    sink.write(heard[before : last.end()])
                    self.lose = None
                    self.cut()
                    return
                sink.write(data)


@asynccontextmanager
async def relayed(port: int = 0) -> AsyncIterator[Relay]:
    """A relay in front of the server at `port`, or of none yet."""
    relay = Relay(port)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    relay.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relay
    finally:
        server.close()
        await relay.end()
