"""Fold: a long log verified and exported, and one long job lived again in every format.

The log is made by the ledger's own link, and written past it, since appending so much would take longer than all else.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.filling import BEGIN, BY, fill, said
from benchmarks.measure import Report, hardware, options, postgres
from jobstore.formats import PROJECTIONS, native
from jobstore.job import codec
from jobstore.job.commands import Command, ReportProgress, Start, Submit
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.exports import exported, read
from jobstore.store.history import Entry
from jobstore.store.request import Append
from jobstore.store.restoring import restore
from jobstore.store.verifying import verify

LONG = 10_000  # events of the job that is lived again
TIMES = 10  # a round, or else it is over before it is warm

_new = multiprocessing.get_context("spawn")  # what the process before had in memory does not count
_HISTORY = "SELECT * FROM events WHERE account_id = $1 AND job = 1 ORDER BY version"


async def verifying(dsn: str) -> None:
    async with Store(dsn, connections=2) as store:
        ((_, log),) = await store.logs.all("acme")
        await verify(log)


async def exporting(dsn: str, path: Path) -> None:
    async with Store(dsn, connections=2) as store:
        account_id, began_as, log = await store.logs.part("acme", 1, None)
        with path.open("wb") as file:
            async for _, lines in exported(began_as, log, lambda end: store.checkpoints.sign(account_id, "acme", *end)):
                file.write(lines)


async def verifying_a_file(path: Path) -> None:
    await verify(read(path).log)


async def restoring(dsn: str, path: Path) -> None:
    async with Store(dsn, connections=2) as store:
        await restore(store.postgres, read(path), "copy", lambda position: None)


def replay(report: Report) -> None:
    """Decode the long job's history and fold it in every format."""
    entries = [
        Entry(version, 1, version, codec.name(event), BEGIN, codec.encode(event), BY, None)
        for version in range(1, LONG + 1)
        for event in (said(version),)
    ]
    folds, rates = LONG * len(PROJECTIONS), []
    for _ in range(report.rounds):
        begin = time.perf_counter()
        events = [entry.recorded() for entry in entries]
        for projection in PROJECTIONS.values():
            projection.fold(events)
        rates.append(folds / (time.perf_counter() - begin))
    what = f"replay, {LONG:,} events, {len(PROJECTIONS)} formats"
    report.tell("fold", what, statistics.median(rates), unit="folds/s", goal=">= 300,000")


async def _against_eventsourcing(report: Report, dsn: str) -> None:
    """One job that is loaded and folded, against the same by eventsourcing's repository, and against reading alone."""
    what = f"a job of {LONG:,} events, loaded and folded"
    connection = await asyncpg.connect(dsn)
    async with Store(dsn) as store:
        account = await store.accounts.create("one")
        for start in range(1, LONG, 500):
            said = [_command(version) for version in range(start, start + 500)]
            job = None if start == 1 else 1
            await store.ledger.append(Append(account, job, tuple(said), "acme/bench"))

        async def folded() -> float:
            begin = time.perf_counter()
            for _ in range(TIMES):
                view = await store.history.view(account, 1, LONG, native.PROJECTION)
                assert view.version == LONG
            return TIMES * LONG / (time.perf_counter() - begin)

        async def read() -> float:
            begin = time.perf_counter()
            for _ in range(TIMES):
                rows = await connection.fetch(_HISTORY, account)
                assert len(rows) == LONG
            return TIMES * LONG / (time.perf_counter() - begin)

        await report.compare("fold", what, "a bare read of its rows", folded, read, unit="events/s")
        try:
            from benchmarks.peers.events import Events
        except ImportError as error:
            report.lacks("fold", what, "eventsourcing", error)
        else:
            async with Events(dsn) as peer:
                theirs = partial(peer.folded, LONG)
                await report.compare("fold", what, "eventsourcing", folded, theirs, unit="events/s", goal=">= 15")
    await connection.close()


def _command(version: int) -> Command:
    if version == 1:
        return Submit(uid=uuid7(now()), kind="index.build")
    return Start() if version == 2 else ReportProgress(fraction=version / LONG, message=f"row {version}")


def alone_with(work: Callable[[], Coroutine[Any, Any, None]], answer: Connection) -> None:
    """Do `work`, and answer how many seconds it took and how many MB of memory this process has had at most."""
    begin = time.perf_counter()
    uvloop.run(work())
    taken = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text().splitlines()
    answer.send((taken, next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))))


def measured(
    report: Report, what: str, count: int, work: Callable[[], Coroutine[Any, Any, None]], *, rounds: int, goal: str = ""
) -> None:
    """The rate and the memory of `work` on so many events, each round in a process of its own."""
    found = []
    for _ in range(rounds):
        here, there = _new.Pipe(duplex=False)
        process = _new.Process(target=alone_with, args=(work, there))
        process.start()
        there.close()
        found.append(here.recv())
        process.join()
    rate = statistics.median(count / seconds for seconds, _ in found)
    report.tell("fold", f"{what}, {count:,} events", rate, unit="events/s", goal=goal)
    report.tell(
        "fold", f"{what}, {count:,} events: memory", max(memory for _, memory in found), unit="MB", goal="<= 100"
    )


def main(report: Report, *, count: int | None = None) -> None:
    """Measure."""
    replay(report)
    count = count or (100_000 if report.quick else 1_000_000)
    rounds = min(3, report.rounds)
    with postgres() as dsn, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.ndjson"
        uvloop.run(_against_eventsourcing(report, dsn))
        uvloop.run(fill(dsn, count))
        measured(report, "verify", count, partial(verifying, dsn), rounds=rounds, goal=">= 100,000")
        measured(report, "export", count, partial(exporting, dsn, path), rounds=rounds, goal=">= 100,000")
        measured(report, "verify, of a file", count, partial(verifying_a_file, path), rounds=rounds)
        measured(report, "import", count, partial(restoring, dsn, path), rounds=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    options(parser)
    parser.add_argument("--events", type=int, help="how many the log has (default: 1,000,000; quick: 100,000)")
    arguments = parser.parse_args()
    print(hardware())
    main(Report(rounds=arguments.rounds, quick=arguments.quick), count=arguments.events)
