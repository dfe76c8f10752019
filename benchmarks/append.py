"""Append: the ledger against raw COPY of the same rows, and against itself without the chain; and one caller against a
bare one-row INSERT transaction."""

import asyncio
import itertools
import time
from unittest.mock import patch

import asyncpg
import uvloop

from benchmarks.measure import compare, hardware, options, postgres
from jobstore.job.commands import ReportProgress, Start, Submit
from jobstore.store import Store, batch
from jobstore.store.batch import Append, Appended
from jobstore.store.clock import now, uuid7

CALLERS = 200
JOBS = 2_000
EVENTS = 20_000  # a round
LONE = 500  # a round

_COLUMNS = ("account_id", "position", "job", "version", "type", "at", "data", "by", "trace", "hash")
_ROWS = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE account_id = $1 AND position > $2 ORDER BY position"
_HASH = bytes(32)
_INSERT = f"INSERT INTO copied ({', '.join(_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


class Run:
    """One database: the ledger's events in `events`, the same rows again in `copied`, a table made alike."""

    def __init__(self, store: Store, connection: asyncpg.Connection, account: int) -> None:
        self.store = store
        self.connection = connection
        self.account = account
        self.jobs: list[int] = []
        self.steps = itertools.count(1)
        self.written = 0

    async def prepare(self) -> None:
        await self.connection.execute("CREATE TABLE copied (LIKE events INCLUDING ALL)")
        self.jobs = [appended.job for appended in await asyncio.gather(*(self._submit() for _ in range(JOBS)))]
        await self._rows()

    async def _submit(self) -> Appended:
        command = Submit(uid=uuid7(now()), kind="index.build", args={"index": "users"})
        return await self.store.ledger.append(Append(self.account, None, (command, Start(stage="load")), "acme/bench"))

    async def _report(self, job: int) -> None:
        step = next(self.steps)
        command = ReportProgress(fraction=step % 9973 / 9973, stage="load", message=f"row {step}")
        await self.store.ledger.append(Append(self.account, job, (command,), "acme/bench"))

    async def _rows(self) -> list[asyncpg.Record]:
        """What the ledger has written since the last call, as rows."""
        rows = await self.connection.fetch(_ROWS, self.account, self.written)
        self.written = rows[-1]["position"]
        return rows

    async def ledger(self) -> float:
        """Events a second, with many callers who each wait for their answer before they say more."""

        async def caller(index: int) -> None:
            for turn in range(EVENTS // CALLERS):
                await self._report(self.jobs[(index + turn * 37) % JOBS])

        begin = time.perf_counter()
        await asyncio.gather(*(caller(index) for index in range(CALLERS)))
        return EVENTS / (time.perf_counter() - begin)

    async def unchained(self) -> float:
        """The same, with a constant for every hash."""
        with patch.object(batch, "link", lambda *_: _HASH), patch.object(batch, "digest", lambda _: _HASH.hex()):
            return await self.ledger()

    async def copy(self) -> float:
        """Rows a second, of the rows that the ledger has just written, as many a transaction as there were callers."""
        rows = [tuple(row) for row in await self._rows()]
        begin = time.perf_counter()
        for start in range(0, len(rows), CALLERS):
            await self.connection.copy_records_to_table(
                "copied", records=rows[start : start + CALLERS], columns=_COLUMNS
            )
        return len(rows) / (time.perf_counter() - begin)

    async def lone(self) -> float:
        """Microseconds an append, with one caller."""
        begin = time.perf_counter()
        for turn in range(LONE):
            await self._report(self.jobs[turn % JOBS])
        return (time.perf_counter() - begin) / LONE * 1e6

    async def insert(self) -> float:
        """Microseconds a transaction that inserts one of the rows that the ledger has just written."""
        rows = [tuple(row) for row in await self._rows()]
        begin = time.perf_counter()
        for row in rows:
            async with self.connection.transaction():
                await self.connection.execute(_INSERT, *row)
        return (time.perf_counter() - begin) / len(rows) * 1e6


async def main(dsn: str, rounds: int) -> None:
    connection = await asyncpg.connect(dsn)
    async with Store(dsn) as store:
        run = Run(store, connection, await store.accounts.create("acme"))
        await run.prepare()
        await compare(
            f"append, {CALLERS} callers / raw COPY of the same rows",
            run.ledger, run.copy, rounds=rounds, unit="events/s", goal=">= 0.5",
        )  # fmt: skip
        await compare(
            f"append, {CALLERS} callers / without the chain",
            run.ledger, run.unchained, rounds=rounds, unit="events/s", goal=">= 0.9",
        )  # fmt: skip
        await compare(
            "append, one caller / bare one-row INSERT transaction",
            run.lone, run.insert, rounds=rounds, unit="us", goal="<= 3",
        )  # fmt: skip
    await connection.close()


if __name__ == "__main__":
    arguments = options(__doc__)
    print(hardware())
    with postgres() as dsn:
        uvloop.run(main(dsn, arguments.rounds))
