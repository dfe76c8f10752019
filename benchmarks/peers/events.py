"""Knows eventsourcing 9.5.6, an event-sourcing library, with its Postgres module; must not know jobstore.

An aggregate with one kind of report is what its documentation starts from. Aggregates are kept by the caller, so that a
save reads nothing; it is made in a thread of its own, since the library is synchronous. The pool has a connection a
thread, up to the server's limit. All else is as it comes: a save locks the table until its commit, so that the
notification log has the order of commits. `functions` is the library's setting POSTGRES_ENABLE_DB_FUNCTIONS, with which
a save is one call of a function in the database: faster, since that takes no lock, and without that order.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Self
from uuid import UUID

import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.callers import WARM
from benchmarks.peers.database import POOL, database

JOBS: Final = 2_000

_ROWS: Final = "SELECT * FROM application_events WHERE originator_id = %s ORDER BY originator_version"


class Job(Aggregate):
    """A job, which reports how far it is."""

    class Queued(Aggregate.Created):
        """It was made."""

        kind: str

    @event(Queued)
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.fraction = 0.0
        self.message = ""

    @event("Reported")
    def report(self, fraction: float, message: str) -> None:
        """How far it is, and at what."""
        self.fraction = fraction
        self.message = message


class Events:
    """An event store on the server behind `dsn`."""

    def __init__(self, dsn: str, *, functions: bool = False) -> None:
        self.dsn = dsn
        self._functions = functions
        self._jobs: list[Job] = []
        self._long: dict[int, UUID] = {}

    async def __aenter__(self) -> Self:
        self.dsn = await database(self.dsn, "peer_events")
        self._jobs = await asyncio.to_thread(self._made)
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @contextmanager
    def application(self, connections: int) -> Iterator[Any]:
        """The library's application, with so many connections."""
        where = conninfo_to_dict(self.dsn)
        application = Application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.postgres",
                "POSTGRES_DBNAME": where["dbname"],
                "POSTGRES_HOST": where["host"],
                "POSTGRES_PORT": str(where.get("port", 5432)),
                "POSTGRES_USER": where["user"],
                "POSTGRES_PASSWORD": where.get("password", ""),
                "POSTGRES_POOL_SIZE": str(connections),
                "POSTGRES_ENABLE_DB_FUNCTIONS": "yes" if self._functions else "no",
            }
        )
        try:
            yield application
        finally:
            application.close()

    def _made(self) -> list[Job]:
        jobs = [Job(kind="index.build") for _ in range(JOBS)]
        with self.application(1) as application:
            application.save(*jobs)
        return jobs

    async def appended(self, concurrency: int, count: int) -> float:
        """Events a second, each saved and acknowledged by itself, with that many callers, in threads, at once."""
        return await asyncio.to_thread(self._appended, concurrency, count)

    def _appended(self, concurrency: int, count: int) -> float:
        with (
            self.application(min(concurrency, POOL)) as application,
            ThreadPoolExecutor(concurrency) as threads,
        ):

            def call(calls: int) -> None:
                list(threads.map(partial(caller, calls), range(concurrency)))

            def caller(calls: int, index: int) -> None:
                mine = self._jobs[index::concurrency]
                for number in range(index, calls, concurrency):
                    job = mine[number // concurrency % len(mine)]
                    job.report(fraction=number % 9973 / 9973, message=f"row {number}")
                    application.save(job)

            call(concurrency * WARM)
            begin = time.perf_counter()
            call(count)
            return count / (time.perf_counter() - begin)

    async def folded(self, length: int) -> float:
        """Events a second, of one job of that many events, loaded and folded without a snapshot."""
        return await asyncio.to_thread(self._folded, length)

    def _folded(self, length: int) -> float:
        with self.application(1) as application:
            id = self._job_of(length, application)
            begin = time.perf_counter()
            job = application.repository.get(id)
            seconds = time.perf_counter() - begin
        assert job.version == length
        return length / seconds

    async def read(self, length: int) -> float:
        """Rows a second, of the same job's events read by a bare cursor: what no fold can exceed."""
        return await asyncio.to_thread(self._read, length)

    def _read(self, length: int) -> float:
        with self.application(1) as application:
            id = self._job_of(length, application)
        with psycopg.connect(self.dsn) as connection:
            begin = time.perf_counter()
            rows = connection.execute(_ROWS, (id,)).fetchall()
            seconds = time.perf_counter() - begin
        assert len(rows) == length
        return length / seconds

    def _job_of(self, length: int, application: Any) -> UUID:
        if length not in self._long:
            job = Job(kind="index.build")
            for number in range(length - 1):
                job.report(fraction=number / length, message=f"row {number}")
                if number % 500 == 0:  # ten thousand in one save wait for ever
                    application.save(job)
            application.save(job)
            self._long[length] = job.id
        return self._long[length]
