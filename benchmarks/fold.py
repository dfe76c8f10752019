"""Fold: a long log verified and exported, and one long job lived again in every format.

The log is made by the ledger's own link, and written past it, since appending so much would take longer than all else.
"""

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from benchmarks.measure import hardware, postgres
from jobstore.formats import PROJECTIONS
from jobstore.job import codec
from jobstore.job.events import Event, JobQueued, JobStarted, ProgressReported
from jobstore.store import Store
from jobstore.store.chain import digest, genesis, link, microseconds
from jobstore.store.exports import exported, read
from jobstore.store.history import Entry
from jobstore.store.restoring import restore
from jobstore.store.verifying import verify

LONG = 10_000  # events of the job that is lived again
JOBS = 1_000  # of the log, in turn

_new = multiprocessing.get_context("spawn")  # what the process before had in memory does not count
_COLUMNS = ("account_id", "position", "job", "version", "type", "at", "data", "by", "trace", "hash")
_BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def said(version: int, uid: int = 1) -> Event:
    """What a job's event of this version says."""
    if version == 1:
        return JobQueued(uid=f"{uid:032x}", kind="index.build", args={"index": "users"})
    if version == 2:
        return JobStarted(stage="load")
    return ProgressReported(fraction=version % 9973 / 9973, stage="load", message=f"row {version}")


def log(account_id: int, name: str, count: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a log of so many events."""
    hash = genesis(name)
    for position in range(1, count + 1):
        job, version = (position - 1) % JOBS + 1, (position - 1) // JOBS + 1
        event, at = said(version, job), _BEGIN + timedelta(milliseconds=position)
        type, data = codec.name(event), codec.encode(event)
        hash = link(hash, position, job, version, type, microseconds(at), "acme/bench", None, digest(data))
        yield account_id, position, job, version, type, at, data, "acme/bench", None, hash


async def fill(dsn: str, count: int) -> None:
    """An account `acme` with a log of so many events."""
    connection = await asyncpg.connect(dsn)
    async with Store(dsn) as store:
        account_id = await store.accounts.create("acme")
    rows = log(account_id, "acme", count)
    last: tuple[Any, ...] = ()
    while page := list(itertools.islice(rows, 20_000)):
        await connection.copy_records_to_table("events", records=page, columns=_COLUMNS)
        last = page[-1]
    await connection.execute("UPDATE heads SET position = $1, hash = $2, at = $3", last[1], last[-1], last[5])
    await connection.execute("VACUUM ANALYZE events")
    await connection.close()


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


def replay(rounds: int) -> None:
    """Decode the long job's history and fold it in every format; print the rate."""
    entries = [
        Entry(version, 1, version, codec.name(event), _BEGIN, codec.encode(event), "acme/bench", None)
        for version in range(1, LONG + 1)
        for event in (said(version),)
    ]
    folds, rates = LONG * len(PROJECTIONS), []
    for _ in range(rounds):
        begin = time.perf_counter()
        events = [entry.recorded() for entry in entries]
        for projection in PROJECTIONS.values():
            projection.fold(events)
        rates.append(folds / (time.perf_counter() - begin))
    print(
        f"{f'replay, {LONG:,} events, {len(PROJECTIONS)} formats':<40} {statistics.median(rates):>9,.0f} folds/s "
        f"({min(rates):,.0f}-{max(rates):,.0f}, goal >= 300,000)",
        flush=True,
    )


def alone(work: Callable[[], Coroutine[Any, Any, None]], answer: Connection) -> None:
    """Do `work`, and answer how many seconds it took and how many MB of memory this process has had at most."""
    begin = time.perf_counter()
    uvloop.run(work())
    taken = time.perf_counter() - begin
    status = Path("/proc/self/status").read_text().splitlines()
    answer.send((taken, next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))))


def measured(what: str, goal: str, count: int, work: Callable[[], Coroutine[Any, Any, None]], rounds: int) -> None:
    """Print the rate and the memory of `work` on so many events, each round in a process of its own."""
    found = []
    for _ in range(rounds):
        here, there = _new.Pipe(duplex=False)
        process = _new.Process(target=alone, args=(work, there))
        process.start()
        there.close()
        found.append(here.recv())
        process.join()
    rates = sorted(count / seconds for seconds, _ in found)
    print(
        f"{what:<40} {statistics.median(rates):>9,.0f} events/s ({rates[0]:,.0f}-{rates[-1]:,.0f}, goal {goal})"
        f"   {max(memory for _, memory in found):.0f} MB",
        flush=True,
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default: 3)")
    parser.add_argument("--events", type=int, default=500_000, help="how many the log has (default: 500,000)")
    arguments = parser.parse_args()
    count, rounds = arguments.events, arguments.rounds
    print(f"{hardware()}, {count:,} events")
    replay(rounds)
    with postgres() as dsn, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.ndjson"
        uvloop.run(fill(dsn, count))
        measured("verify", ">= 100,000", count, partial(verifying, dsn), rounds)
        measured("export", ">= 100,000", count, partial(exporting, dsn, path), rounds)
        measured("verify, of a file", "none", count, partial(verifying_a_file, path), rounds)
        measured("import", "none", count, partial(restoring, dsn, path), 1)


if __name__ == "__main__":
    main()
