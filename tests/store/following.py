"""Knows how the tests follow a log: readers who write down what they are given, and ways for news not to come."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from jobstore.job import commands as c
from jobstore.store import Store
from jobstore.store.bell import CHANNEL, NAME, Bell
from jobstore.store.history import Entry
from jobstore.store.tail import Tail
from tests.store.asking import new_job, query, say, until

NEVER: Final = 3600.0  # seconds; an interval of which no test sees the end
OFTEN: Final = 0.05

NOWHERE: Final = "postgresql://postgres@/postgres?host=/nonexistent"

LISTENING: Final = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{NAME}' AND query LIKE 'LISTEN%'"
KILL: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid IN "
KILL_BELLS: Final = f"{KILL} (SELECT pid FROM pg_stat_activity WHERE application_name = '{NAME}')"


class Reader:
    """Somebody who follows an account, and what it was given from `since` on."""

    def __init__(self, tail: Tail, account_id: int) -> None:
        self.batches: list[list[Entry]] = []
        self.since = -1
        self._tail = tail
        self._account_id = account_id
        self._inside = self._wrong = False

    async def follow(self) -> Self:
        self.since = await self._tail.follow(self._account_id, self)
        return self

    def leave(self) -> None:
        self._tail.unfollow(self._account_id, self)

    def __call__(self, entries: Sequence[Entry]) -> None:
        self._wrong = self._wrong or self._inside or self.since < 0
        self._inside = True
        self.batches.append(list(entries))
        self._inside = False

    @property
    def entries(self) -> list[Entry]:
        return [entry for batch in self.batches for entry in batch]

    @property
    def positions(self) -> list[int]:
        return [entry.position for entry in self.entries]

    @property
    def reached(self) -> int:
        return self.batches[-1][-1].position if self.batches else self.since

    async def until(self, position: int) -> None:
        """Wait until it was given what is at `position`."""
        await until(lambda: self.reached >= position)

    async def assert_exact(self, store: Store) -> None:
        """It was given the log from where it began: each entry, as it is recorded, in order, once."""
        log = await store.history.of_account(self._account_id, after=self.since, limit=10**6)
        assert self.entries == log[: len(self.entries)]
        assert all(self.batches), "there are no empty batches"
        assert not self._wrong, "it was called while it was being called, or before it knew from where on"


@asynccontextmanager
async def tailing(store: Store, *, interval: float = NEVER, bell: str = NOWHERE) -> AsyncIterator[Tail]:
    """A tail that hears the node's commits, at other intervals or with another bell: mostly one that is dumb."""
    heard = Bell(bell, patience=1)
    tail = Tail(store.postgres, store.history, heard, interval=interval)
    store.ledger.listen(tail.hear)
    try:
        yield tail
    finally:
        await tail.close()
        await heard.close()


async def append_elsewhere(dsn: str, account: int, count: int) -> None:
    """A job of another node, and that many notes at once."""
    async with Store(dsn) as other:
        job = await new_job(other, account)
        await other.ledger.append(say(account, job, *[c.Annotate(note=f"{i}") for i in range(count)]))


async def until_listening(dsn: str, backends: int = 1) -> None:
    """Wait until that many processes listen."""

    async def listening() -> bool:
        return len(await query(dsn, f"{LISTENING} AND datname = current_database()")) >= backends

    await until(listening)


@asynccontextmanager
async def listening(dsn: str) -> AsyncIterator[list[tuple[int, str]]]:
    """What rings in the database, with the process id of the backend that it came from."""
    heard: list[tuple[int, str]] = []
    connection = await asyncpg.connect(dsn)
    await connection.add_listener(CHANNEL, lambda _connection, pid, _channel, payload: heard.append((pid, payload)))
    try:
        yield heard
    finally:
        with suppress(asyncpg.InterfaceError):
            await connection.close()


def counting(monkeypatch: pytest.MonkeyPatch, *statements: str) -> list[tuple[float, tuple[Any, ...]]]:
    """When, and with which arguments, one of the statements is put to the database from now on."""
    asked: list[tuple[float, tuple[Any, ...]]] = []
    for name in ("fetch", "fetchval"):
        ask = getattr(PoolConnectionProxy, name)

        async def noted(connection: Any, said: str, *arguments: Any, _ask: Any = ask, **more: Any) -> Any:
            if said in statements:
                asked.append((asyncio.get_running_loop().time(), arguments))
            return await _ask(connection, said, *arguments, **more)

        monkeypatch.setattr(PoolConnectionProxy, name, noted)
    return asked


class Held:
    """Questions to the database of one statement: each is asked, and its answer held back until `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, statement: str, *, before: bool = False) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.count = 0
        for name in ("fetch", "fetchval"):
            ask = getattr(PoolConnectionProxy, name)

            async def held(connection: Any, said: str, *arguments: Any, _ask: Any = ask, **more: Any) -> Any:
                if said != statement:
                    return await _ask(connection, said, *arguments, **more)
                self.count += 1
                answer = None if before else await _ask(connection, said, *arguments, **more)
                self.asked.set()
                await self.go.wait()
                return await _ask(connection, said, *arguments, **more) if before else answer

            monkeypatch.setattr(PoolConnectionProxy, name, held)
