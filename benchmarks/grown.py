"""Knows how to ask a filled store for the same work whatever its size; must not know what it is compared with.

Asked for are so many jobs, spread evenly over all that there are, and the feeds of so many of their accounts.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from benchmarks.filling import BY
from benchmarks.load import rate, request
from jobstore.job.commands import Annotate
from jobstore.store import Store
from jobstore.store.request import Append, Appended
from jobstore.store.verifying import verify

CALLERS: Final = 200
CONNECTIONS: Final = 100
READERS: Final = 20  # accounts whose feeds are resumed
BEHIND: Final = 500  # events that each of them lacks
APPENDS: Final = 24_000  # a round
POLLS: Final = 12_000  # a round
LISTS: Final = 2_000  # a round
RESUMES: Final = 60  # a round

_BUFFER: Final = 2**22  # bytes; what a reader lacks, and more
_HEADS: Final = "SELECT account_id, jobs FROM heads ORDER BY account_id"
_LET_IN: Final = """
INSERT INTO keys (key_id, account_id, name, scope, hash)
SELECT substr(key, 5, 12), account_id, 'bench', 'read', sha256(convert_to(key, 'UTF8'))
FROM unnest($1::text[], $2::integer[]) AS made (key, account_id)
"""


class Grown:
    """A filled store with a server at `port`. What is measured is a rate; `share` is how much of a round is enough."""

    def __init__(self, store: Store, port: int, jobs: list[tuple[int, int]], listed: int, share: float) -> None:
        self.store = store
        self._port = port
        self._share = share
        self._jobs = itertools.cycle(jobs)
        self._accounts = list(dict.fromkeys(account_id for account_id, _ in jobs))
        self._readers = itertools.cycle(self._accounts[:READERS])
        self._polls = [request(f"/jobs/{number}", _key(account_id)) for account_id, number in jobs]
        self._lists = [request(f"/jobs?limit={listed}", _key(account_id)) for account_id in self._accounts]
        self._steps = itertools.count(1)

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Let readers in, and say what they lack."""
        await connection.execute(_LET_IN, [_key(account_id) for account_id in self._accounts], self._accounts)
        await asyncio.gather(*(self._note(account_id, 1, BEHIND) for account_id in self._accounts[:READERS]))

    async def append(self) -> float:
        """Events a second, in process, of many callers who each wait for their answer before they say more."""
        turns = self._of(APPENDS) // CALLERS

        async def caller() -> None:
            for _ in range(turns):
                await self._note(*next(self._jobs))

        begin = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return turns * CALLERS / (time.perf_counter() - begin)

    async def poll(self) -> float:
        """Exact polls a second."""
        return await rate(self._port, self._polls, count=self._of(POLLS), connections=CONNECTIONS)

    async def list(self) -> float:
        """Pages of the newest jobs, a second."""
        return await rate(self._port, self._lists, count=self._of(LISTS), connections=CONNECTIONS)

    async def resume(self) -> float:
        """Readers a second who come back, one after the other, and have what they lack."""
        feeds = []
        for account_id in itertools.islice(self._readers, self._of(RESUMES)):
            head = await self.store.history.head(account_id)
            last = f"Last-Event-ID: {head - BEHIND}"
            feeds.append((request("/feed", _key(account_id), "Accept: text/event-stream", last), head))
        begin = time.perf_counter()
        for asked, head in feeds:
            await _caught_up(self._port, asked, head)
        return len(feeds) / (time.perf_counter() - begin)

    async def verify(self) -> float:
        """Events a second, over the log of the first account."""
        _, log = (await self.store.logs.all("acme"))[0]
        begin = time.perf_counter()
        return await verify(log) / (time.perf_counter() - begin)

    def _of(self, count: int) -> int:
        return int(count * self._share)

    def _note(self, account_id: int, number: int, times: int = 1) -> asyncio.Future[Appended]:
        """Say something that every job takes, whatever its phase."""
        said = tuple(Annotate(note=f"row {step}") for step in itertools.islice(self._steps, times))
        return self.store.ledger.append(Append(account_id, number, said, BY))


@asynccontextmanager
async def grown(dsn: str, port: int, *, asked: int, listed: int, share: float) -> AsyncIterator[Grown]:
    """The store at an address, ready to be asked for `asked` jobs, and for `listed` of them on a page."""
    connection = await asyncpg.connect(dsn)
    heads = [tuple(row) for row in await connection.fetch(_HEADS)]
    each = heads[0][1]
    jobs = [
        (heads[place // each][0], place % each + 1)
        for place in (index * len(heads) * each // asked for index in range(asked))
    ]
    async with Store(dsn) as store:
        found = Grown(store, port, jobs, listed, share)
        await found.prepare(connection)
        await connection.close()
        yield found


def _key(account_id: int) -> str:
    """A key that this benchmark can work out; nobody else has a use for it."""
    return f"jsk_{account_id:012x}_{account_id:040x}"


async def _caught_up(port: int, asked: bytes, head: int) -> None:
    """Read a feed until the event at `head`, and see that none was left out."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_BUFFER)
    writer.write(asked)
    heard = await reader.readuntil(b"\nid: %d\nevent: " % head) + await reader.readuntil(b"\n\n")
    writer.close()
    if heard.count(b"\nevent: ") != BEHIND:
        raise RuntimeError(heard[:300].decode(errors="replace"))
