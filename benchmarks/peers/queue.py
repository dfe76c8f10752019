"""Knows pgqueuer 1.6, a job queue in Postgres: jobs put in the queue, one a call; must not know any worker.

`Queries.enqueue` is how its documentation has a web app enqueue; the pool has a connection a caller, up to the server's
limit. The tables are as `pgq install` makes them: logged, with their trigger that notifies.
"""

from typing import Self

import asyncpg
from pgqueuer.queries import Queries

from benchmarks.peers.callers import called
from benchmarks.peers.database import POOL, database


class Queue:
    """A queue on the server behind `dsn`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __aenter__(self) -> Self:
        self._dsn = await database(self._dsn, "peer_queue")
        connection = await asyncpg.connect(self._dsn)
        try:
            await Queries.from_asyncpg_connection(connection).install()
        finally:
            await connection.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def appended(self, concurrency: int, count: int) -> float:
        """Jobs a second, each committed and acknowledged by itself, with that many callers at once."""
        size = min(concurrency, POOL)
        async with asyncpg.create_pool(self._dsn, min_size=size, max_size=size) as pool:
            queries = Queries.from_asyncpg_pool(pool)

            async def enqueue(number: int) -> None:
                await queries.enqueue("index.build", b'{"index": "users", "row": %d}' % number)

            return await called(enqueue, concurrency, count)
