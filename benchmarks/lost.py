"""Lost: events that a reader who follows by position never sees, while transactions of several writers overlap.

The reader asks again and again for what comes after the last position it saw. A trigger holds some transactions open
after they have drawn their positions, as a slow disk or a busy client would. When all is committed and the reader finds
nothing more, a second reader begins at the start: what only this one sees is lost to the first.

Compared are the notification log of eventsourcing, as it comes and with its functions in the database, and the table
with a sequence that is usual where no library is used. Procrastinate and pgqueuer have no feed by position, nor has the
hand-written endpoint other than by such a sequence.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import asyncpg
import uvloop

from benchmarks.measure import Report, alone, postgres
from benchmarks.peers.callers import asked
from benchmarks.peers.database import database
from jobstore.job.commands import Command, ReportProgress, Start, Submit
from jobstore.store import Store
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append

EVENTS: Final = 100_000
QUICK: Final = 10_000
NODES: Final = 4  # stores, each of them what a process has
CALLERS: Final = 200  # of all nodes together
WRITERS: Final = 16  # where each writer has a connection, and a transaction an event
PAGE: Final = 1_000
UNIT: Final = "per 100,000"

_HOLD: Final = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.1 THEN PERFORM pg_sleep(random() * 0.01); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION hold();
"""
_NUMBERED: Final = "CREATE TABLE numbered (id bigserial PRIMARY KEY, message text NOT NULL)"
_NUMBER: Final = "INSERT INTO numbered (message) VALUES ($1)"
_AFTER: Final = f"SELECT id FROM numbered WHERE id > $1 ORDER BY id LIMIT {PAGE}"

Look = Callable[[int], Awaitable[list[int]]]  # the positions of the events after this one, some of them


async def lost(write: Awaitable[object], look: Look, begin: int = 0) -> float:
    """Events never seen, per 100,000, of those that `write` writes, by who begins to follow at position `begin`."""
    over = asyncio.Event()

    async def follow() -> set[int]:
        seen: set[int] = set()
        last = begin
        while True:
            last_look = over.is_set()
            positions = await look(last)
            seen.update(positions)
            if positions:
                last = positions[-1]
            elif last_look:
                return seen

    async with asyncio.TaskGroup() as both:
        reader = both.create_task(follow())
        await write
        over.set()
    written = await follow()
    return len(written - reader.result()) / len(written) * 100_000


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def of_jobstore(dsn: str, count: int) -> float:
    """Ours, with several nodes that append to one account."""
    dsn = await database(dsn, "lost_jobstore")
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Store(dsn, connections=4, patience=60)) for _ in range(NODES)]
        async with connected(dsn) as connection:
            await connection.execute(_HOLD.format(table="events"))
        account = await nodes[0].accounts.create("acme")

        async def append(node: Store, job: int | None, *said: Command) -> int:
            return (await node.ledger.append(Append(account, job, said, "acme/bench"))).job

        async def submit() -> int:
            return await append(nodes[0], None, Submit(uid=uuid7(now()), kind="index.build"), Start())

        jobs = await asyncio.gather(*(submit() for _ in range(CALLERS)))

        async def report(number: int) -> None:
            said = ReportProgress(fraction=number / count, message=f"row {number}")
            await append(nodes[number % NODES], jobs[number % CALLERS], said)

        async def look(after: int) -> list[int]:
            page = await nodes[0].history.of_account(account, after=after, limit=PAGE)
            return [entry.position for entry in page]

        return await lost(asked(report, CALLERS, count), look)


async def of_sequence(dsn: str, count: int) -> float:
    """A table with a sequence."""
    dsn = await database(dsn, "lost_sequence")
    async with asyncpg.create_pool(dsn, min_size=WRITERS, max_size=WRITERS) as pool, connected(dsn) as reader:
        await pool.execute(_NUMBERED)
        await pool.execute(_HOLD.format(table="numbered"))

        async def insert(number: int) -> None:
            await pool.execute(_NUMBER, f"row {number}")

        async def look(after: int) -> list[int]:
            return [row["id"] for row in await reader.fetch(_AFTER, after)]

        return await lost(asked(insert, WRITERS, count), look)


async def of_events(dsn: str, count: int, *, functions: bool) -> float:
    """The notification log of eventsourcing."""
    from benchmarks.peers.events import Events  # here, since it may not be installed

    async with Events(dsn, functions=functions) as events:
        with events.application(1) as reader:
            async with connected(events.dsn) as connection:
                await connection.execute(_HOLD.format(table=reader.recorder.events_table_name))
            begin = reader.recorder.max_notification_id()

            async def look(after: int) -> list[int]:
                page = await asyncio.to_thread(reader.recorder.select_notifications, after + 1, PAGE)
                return [notification.id for notification in page]

            return await lost(events.appended(WRITERS, count), look, begin)


async def measured(report: Report, dsn: str) -> None:
    """Ours, then theirs with as many events as they can write in a like time."""
    count = QUICK if report.quick else EVENTS
    report.tell("lost events", "jobstore", await of_jobstore(dsn, count), unit=UNIT, goal="<= 0")
    try:
        for what, functions in (("eventsourcing", False), ("eventsourcing, with database functions", True)):
            report.tell("lost events", what, await of_events(dsn, count // 40, functions=functions), unit=UNIT)
    except ImportError as error:
        report.lacks("lost events", "eventsourcing", "", error)
    report.tell("lost events", "a table with a sequence", await of_sequence(dsn, count // 10), unit=UNIT)


def main(report: Report) -> None:
    """Count, on a Postgres of its own."""
    with postgres() as dsn:
        uvloop.run(measured(report, dsn))


if __name__ == "__main__":
    alone(main, __doc__)
