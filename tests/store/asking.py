"""Knows how the tests of the store ask for things, and how they make a race happen instead of waiting for one."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.batch import Draft
from jobstore.store.clock import now, uuid7
from jobstore.store.request import Append, Appended

SECONDS: Final = 10.0  # more than anything here may take

LOCKED: Final = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' ORDER BY pid
"""


def submit(account_id: int, kind: str = "index.build", **more: Any) -> Append:
    """A request for a new job."""
    return Append(account_id, None, (c.Submit(uid=uuid7(now()), kind=kind),), "acme/tests", **more)


def say(account_id: int, job: int, *commands: c.Command, **more: Any) -> Append:
    """A request to record `commands`."""
    return Append(account_id, job, commands, "acme/tests", **more)


def note(account_id: int, job: int, text: object, **more: Any) -> Append:
    """A request that every job takes; with another text each time it adds one event."""
    return say(account_id, job, c.Annotate(note=str(text)), **more)


async def new_job(store: Store, account_id: int) -> int:
    """The number of a job that runs."""
    job = (await store.ledger.append(submit(account_id))).job
    await store.ledger.append(say(account_id, job, c.Start()))
    return job


async def outcomes(*futures: asyncio.Future[Appended]) -> list[Appended | BaseException]:
    """What became of each, in bounded time."""
    async with asyncio.timeout(SECONDS):
        return await asyncio.gather(*futures, return_exceptions=True)


def drafts(store: Store) -> list[Draft]:
    """The drafts that the node commits from now on."""
    heard: list[Draft] = []
    store.ledger.listen(heard.append)
    return heard


async def query(dsn: str, statement: str, *arguments: Any) -> list[Any]:
    """The rows of a query over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def notes(dsn: str, account_id: int, job: int) -> list[str]:
    """The texts of a job's notes in the order of its versions."""
    found = await query(
        dsn,
        "SELECT data::json->>'note' FROM events WHERE account_id = $1 AND job = $2 AND type = 'annotated' "
        "ORDER BY version",
        account_id,
        job,
    )
    return [row[0] for row in found]


@asynccontextmanager
async def holding(dsn: str, statement: str, *arguments: Any) -> AsyncIterator[Callable[[], Any]]:
    """Locks of another connection, from `statement`; what is given lets go of them early."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement, *arguments)
    held = True

    async def let_go() -> None:
        nonlocal held
        if held:
            held = False
            with suppress(asyncpg.InterfaceError):  # a server that has ended holds nothing
                await transaction.rollback()

    try:
        yield let_go
    finally:
        await let_go()
        await connection.close()


def holding_heads(dsn: str, *accounts: int) -> Any:
    """The ends of these accounts' logs, held by another connection."""
    return holding(dsn, "SELECT FROM heads WHERE account_id = ANY($1) FOR UPDATE", list(accounts))


async def until_locked(dsn: str, backends: int = 1) -> list[int]:
    """Wait until that many backends of the database wait for a lock; their process ids."""
    connection = await asyncpg.connect(dsn)

    async def locked() -> bool:
        pids[:] = [row["pid"] for row in await connection.fetch(LOCKED)]
        return len(pids) >= backends

    pids: list[int] = []
    try:
        await until(locked)
        return pids
    finally:
        await connection.close()


async def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait until a condition holds, which may be a coroutine's."""
    async with asyncio.timeout(seconds):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.005)
