"""Knows procrastinate 3.10, a task queue in Postgres: tasks deferred, one a call; must not know any worker.

`defer_async` through the `PsycopgConnector` is what its documentation shows for an async app. The pool has a connection
a caller, up to the server's limit. The tables, functions and triggers are those of its own schema.
"""

from typing import Self

from procrastinate import App, PsycopgConnector

from benchmarks.peers.callers import called
from benchmarks.peers.database import POOL, database


async def build(index: str, row: int) -> None:
    """What a worker would do."""


class Tasks:
    """A task queue on the server behind `dsn`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> Self:
        self._dsn = await database(self._dsn, "peer_tasks")
        async with self._app(1).open_async() as app:
            await app.schema_manager.apply_schema_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def _app(self, size: int) -> App:
        return App(connector=PsycopgConnector(conninfo=self._dsn, min_size=size, max_size=size))

    async def appended(self, concurrency: int, count: int) -> float:
        """Tasks a second, each committed and acknowledged by itself, with that many callers at once."""
        async with self._app(min(concurrency, POOL)).open_async() as app:
            task = app.task(name="index.build")(build)

            async def defer(number: int) -> None:
                await task.defer_async(index="users", row=number)

            return await called(defer, concurrency, count)
