"""Append: the ledger against raw COPY of the same rows, against itself without the chain, and against its peers; and
one caller against a bare one-row INSERT transaction."""

import asyncio
import itertools
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import asyncpg
import uvloop

from benchmarks.measure import Measured, Report, alone, postgres
from benchmarks.peers.best import best
from jobstore.job.commands import ReportProgress, Start, Submit
from jobstore.store import Store, batch
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append, Appended

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

    def _said(self, count: int) -> list[ReportProgress]:
        """What callers will say. It is there before the clock runs, as the rows for COPY are."""
        return [
            ReportProgress(fraction=step % 9973 / 9973, stage="load", message=f"row {step}")
            for step in itertools.islice(self.steps, count)
        ]

    async def _rows(self) -> list[asyncpg.Record]:
        """What the ledger has written since the last call, as rows."""
        rows = await self.connection.fetch(_ROWS, self.account, self.written)
        self.written = rows[-1]["position"]
        return rows

    async def ledger(self) -> float:
        """Events a second, with many callers who each wait for their answer before they say more."""

        append, account, jobs = self.store.ledger.append, self.account, self.jobs
        said = self._said(EVENTS)

        async def caller(index: int) -> None:
            for turn, command in enumerate(said[index::CALLERS]):
                await append(Append(account, jobs[(index + turn * 37) % JOBS], (command,), "acme/bench"))

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
        said = self._said(LONE)
        begin = time.perf_counter()
        for turn, command in enumerate(said):
            await self.store.ledger.append(Append(self.account, self.jobs[turn % JOBS], (command,), "acme/bench"))
        return (time.perf_counter() - begin) / LONE * 1e6

    async def insert(self) -> float:
        """Microseconds a transaction that inserts one of the rows that the ledger has just written."""
        rows = [tuple(row) for row in await self._rows()]
        begin = time.perf_counter()
        for row in rows:
            async with self.connection.transaction():
                await self.connection.execute(_INSERT, *row)
        return (time.perf_counter() - begin) / len(rows) * 1e6


async def _compare(report: Report, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    async with Store(dsn) as store:
        run = Run(store, connection, await store.accounts.create("acme"))
        await run.prepare()
        what = f"{CALLERS} callers"
        await report.compare(
            "append", what, "raw COPY of the same rows", run.ledger, run.copy, unit="events/s", goal=">= 0.70"
        )
        await report.compare(
            "append", what, "without the chain", run.ledger, run.unchained, unit="events/s", goal=">= 0.9"
        )
        await report.compare(
            "append", "one caller", "bare one-row INSERT transaction", run.lone, run.insert, unit="us", goal="<= 2.0"
        )
        await _against_peers(report, dsn, run.ledger)
    await connection.close()


async def _against_peers(report: Report, dsn: str, ours: Measured) -> None:
    """Each at the concurrency at which it is fastest."""
    known: tuple[tuple[str, str, Callable[[Any], Any], str], ...] = (
        ("eventsourcing", "events", lambda peers: peers.Events(dsn), ">= 15"),
        ("eventsourcing, with functions", "events", lambda peers: peers.Events(dsn, functions=True), ">= 15"),
        ("procrastinate", "tasks", lambda peers: peers.Tasks(dsn), ">= 15"),
        ("pgqueuer", "queue", lambda peers: peers.Queue(dsn), ""),
        ("FastAPI and asyncpg", "endpoint", lambda peers: peers.Endpoint(dsn), ">= 10"),
    )
    for name, module, of, goal in known:
        try:
            peer = of(import_module(f"benchmarks.peers.{module}"))
        except ImportError as error:
            report.lacks("append", f"{CALLERS} callers", name, error)
            continue
        async with peer:
            callers = await (best(peer, (4, 10), count=300) if report.quick else best(peer))
            against = f"{name}, {callers} at once" if callers > 1 else f"{name}, one at a time"
            count = 500 if report.quick else 2_000
            theirs = partial(peer.appended, callers, count)
            await report.compare("append", f"{CALLERS} callers", against, ours, theirs, unit="events/s", goal=goal)


def main(report: Report) -> None:
    """Measure."""
    with postgres() as dsn:
        uvloop.run(_compare(report, dsn))


if __name__ == "__main__":
    alone(main, __doc__)
