"""Growth: a store of 10 million events against one of 10 thousand, and a job of 10,000 events against one of 10.

Both stores are in one Postgres, and filled before either is measured. What is asked for is the same of both: a thousand
jobs, or as many as the smaller store has. Appending makes both grow, by some thousands of events a round.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import asyncpg
import psutil
import uvloop

from benchmarks.filling import BY, fill, jobs_of
from benchmarks.grown import Grown, grown
from benchmarks.load import rate, request
from benchmarks.measure import Report, alone, postgres
from benchmarks.serving import process, serve_jobs
from jobstore.job.commands import Command, ReportProgress, Start, Submit
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

STAGE: Final = "growth"
SIZES: Final = (10_000, 1_000_000, 10_000_000)  # events
SPREADS: Final = (1, 10_000)  # accounts
QUICK_SIZES: Final = (10_000, 200_000)
QUICK_SPREADS: Final = (1, 1_000)
ASKED: Final = 1_000  # jobs
LISTED: Final = 20  # jobs on a page
QUICK: Final = 0.25  # of a round

LONG: Final = 10_000  # events
SHORT: Final = 10
POLLS: Final = 5_000  # a round
APPENDS: Final = 300  # a round


@dataclass(frozen=True)
class Place:
    """A database: how many events it has, and in how many accounts."""

    server: str
    events: int
    accounts: int

    @property
    def database(self) -> str:
        return f"events_{self.events}_accounts_{self.accounts}"

    @property
    def dsn(self) -> str:
        return self.server.replace("@/postgres?", f"@/{self.database}?")

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{size(self.events)} events in {self.accounts:,} account{'s' if self.accounts > 1 else ''}"


class Open(NamedTuple):
    """A filled store that is being measured, and its server's process."""

    place: Place
    store: Grown
    server: psutil.Process


def size(events: int) -> str:
    """A number of events in words."""
    return f"{events // 1_000_000} million" if events >= 1_000_000 else f"{events // 1_000} thousand"


def main(report: Report) -> None:
    """Measure."""
    with postgres() as dsn:
        lengths(report, dsn)
        spreads = QUICK_SPREADS if report.quick else SPREADS
        sizes = QUICK_SIZES if report.quick else SIZES
        places = [Place(dsn, events, accounts) for events in sizes for accounts in spreads]
        uvloop.run(_execute(dsn, *(f"CREATE DATABASE {place.database}" for place in places)))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(_fill, reversed(places), chunksize=1)  # the largest first, so that both processes end together
        uvloop.run(_execute(dsn, "CHECKPOINT"))
        for accounts in spreads:
            sizes_of(report, [place for place in places if place.accounts == accounts])


def sizes_of(report: Report, places: list[Place]) -> None:
    """Compare the larger stores, the largest first, with the smallest one."""
    smallest = places[0]
    jobs = jobs_of(smallest.events // smallest.accounts)
    asked, share = min(ASKED, jobs * smallest.accounts), QUICK if report.quick else 1
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(place)) for place in places]

        async def run() -> None:
            async with AsyncExitStack() as stack:
                opened = []
                for place, (port, server) in zip(places, servers, strict=True):
                    asking = grown(place.dsn, port, asked=asked, listed=min(LISTED, jobs), share=share)
                    opened.append(Open(place, await stack.enter_async_context(asking), server))
                for larger in reversed(opened[1:]):
                    await _compare(report, larger, opened[0])
                for each in opened:
                    await _tell(report, each)

        uvloop.run(run())


async def _compare(report: Report, larger: Open, smallest: Open) -> None:
    ours, theirs = larger.store, smallest.store
    goal = ">= 0.9" if larger.place.events == SIZES[-1] else ""
    for what, measured, base, unit, bound in (
        ("append", ours.append, theirs.append, "events/s", goal),
        ("poll", ours.poll, theirs.poll, "polls/s", goal),
        ("list", ours.list, theirs.list, "pages/s", ""),
        ("feed resume", ours.resume, theirs.resume, "resumes/s", goal),
    ):
        name = f"{what}, {larger.place.name}"
        await report.compare(STAGE, name, size(smallest.place.events), measured, base, unit=unit, goal=bound)


async def _tell(report: Report, opened: Open) -> None:
    place, store, server = opened
    if place.accounts == 1:
        report.tell(STAGE, f"verify, {place.name}", await store.verify(), unit="events/s")
    report.tell(STAGE, f"memory of the server, {place.name}", server.memory_info().rss / 1e6, unit="MB")
    connection = await asyncpg.connect(place.dsn)
    taken = await connection.fetchval("SELECT pg_database_size(current_database())")
    await connection.close()
    report.tell(STAGE, f"on disk, {place.name}", taken / 1e6, unit="MB")


@contextmanager
def _server(place: Place) -> Iterator[tuple[int, psutil.Process]]:
    before = multiprocessing.active_children()
    with process(serve_jobs, place.dsn) as port:
        (server,) = (child for child in multiprocessing.active_children() if child not in before)
        yield port, psutil.Process(server.pid)


def _fill(place: Place) -> None:
    uvloop.run(fill(place.dsn, place.events // place.accounts, place.accounts))


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def lengths(report: Report, dsn: str) -> None:
    """Compare a long job with a short one: polled over HTTP, and appended to by one caller."""
    key, account, long, short = uvloop.run(two_jobs(dsn))
    share = QUICK if report.quick else 1
    with process(serve_jobs, dsn) as port:

        async def run() -> None:
            async def poll(job: int) -> float:
                asked = await rate(port, [request(f"/jobs/{job}", key)], count=int(POLLS * share), connections=20)
                return 1e6 / asked

            async def append(job: int) -> float:
                turns = int(APPENDS * share)
                begin = time.perf_counter()
                for turn in range(turns):
                    said = ReportProgress(fraction=turn / turns, message=f"{begin}")
                    await store.ledger.append(Append(account, job, (said,), BY))
                return (time.perf_counter() - begin) / turns * 1e6

            async with Store(dsn) as store:
                for what, measured in (("poll", poll), ("append", append)):
                    await report.compare(
                        STAGE, f"{what}, job of {LONG:,} events", f"of {SHORT}",
                        partial(measured, long), partial(measured, short), unit="us", goal="<= 1.2",
                    )  # fmt: skip

        uvloop.run(run())


async def two_jobs(dsn: str) -> tuple[str, int, int, int]:
    """A key, the account's id, the number of a long job and of a short one."""
    async with Store(dsn) as store:
        account = await store.accounts.create("acme")
        _, key = await store.accounts.create_key("acme", "read")
        numbers = []
        for length in (LONG, SHORT):
            said: list[Command] = [Submit(uid=uuid7(now()), kind="index.build"), Start()]
            said += [ReportProgress(fraction=step / length, message=f"row {step}") for step in range(length - 2)]
            first = await store.ledger.append(Append(account, None, tuple(said[:500]), BY))
            for start in range(500, length, 500):
                await store.ledger.append(Append(account, first.job, tuple(said[start : start + 500]), BY))
            numbers.append(first.job)
        return key, account, numbers[0], numbers[1]


if __name__ == "__main__":
    alone(main, __doc__)
