"""Knows how to reach Postgres and what its failures mean; nothing above it has heard of a Postgres error code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import asyncpg

T = TypeVar("T")

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,  # the old primary of a failover
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""Failures that say nothing of the statement: the same one may succeed a moment later."""


def is_transient(error: BaseException) -> bool:
    """Whether the failure is a passing one. asyncpg's InterfaceError is also what a wrong argument raises."""
    return isinstance(error, TRANSIENT) and not isinstance(error, ValueError)


class Unavailable(Exception):
    """Postgres did not answer in time. Nothing is known of what was asked for; asking again is safe."""


class Postgres:
    """A pool of connections to one database. Every wait is bounded: `patience` seconds, then Unavailable."""

    def __init__(self, dsn: str, *, connections: int = 10, patience: float = 10.0) -> None:
        self.dsn = dsn
        self.patience = patience
        self.connections = connections
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Connect. A server that says that it is starting, or recovering, is waited for.

        Raises Unavailable when the server cannot be reached, naming the reason.
        """
        deadline = asyncio.get_running_loop().time() + self.patience
        while True:
            try:
                self._pool = await self._connect()
                return
            except (asyncpg.PostgresError, ValueError, *TRANSIENT) as error:
                recovers = isinstance(error, asyncpg.PostgresError) and is_transient(error)
                if not recovers or asyncio.get_running_loop().time() > deadline:
                    raise Unavailable(f"cannot connect to Postgres: {error}") from error
            await asyncio.sleep(0.1)

    async def _connect(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self.dsn,
            min_size=1,
            max_size=self.connections,
            timeout=self.patience,
            command_timeout=self.patience,
            reset=_leave,
            server_settings={
                "application_name": "jobstore",
                "synchronous_commit": "on",
                "timezone": "UTC",
                "jit": "off",
                # Every statement finds rows by a key; arrays of unknown length must not tempt the planner to scan.
                "plan_cache_mode": "force_generic_plan",
                "idle_in_transaction_session_timeout": "10s",
            },
        )

    async def close(self) -> None:
        """Close every connection; those that do not close within 5 s are cut."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a while. Raises what asyncpg raises; TRANSIENT tells which of it may pass."""
        assert self._pool is not None, "open() comes first"
        async with self._pool.acquire(timeout=self.patience) as connection:
            yield connection

    def line(self) -> "Line":
        """A connection to use again and again, see there."""
        return Line(self)

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Connection]:
        """A transaction. Raises Unavailable when it cannot be had, or when it is not known whether it was committed."""
        try:
            async with self.connection() as connection, connection.transaction():
                yield connection
        except Exception as error:
            if is_transient(error):
                raise Unavailable(f"Postgres does not answer: {describe(error)}") from error
            raise

    async def read(self, question: Callable[[Connection], Awaitable[T]], line: "Line | None" = None) -> T:
        """The answer to `question`, asked again over a new connection while the failure is a passing one; over `line`,
        where the caller has one.

        Raises Unavailable after `patience` seconds.
        """
        deadline = asyncio.get_running_loop().time() + self.patience
        pause = 0.05
        while True:
            try:
                if line is not None:
                    return await line.use(question)
                async with self.connection() as connection:
                    return await question(connection)
            except Exception as error:
                if not is_transient(error):
                    raise
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise Unavailable(f"Postgres does not answer: {describe(error)}") from error
                await asyncio.sleep(pause)
                pause = min(1.0, pause * 2)


class Line:
    """One connection for many uses in a row: to take it from the pool and give it back costs as much as a small write.

    It is taken by the first use and kept until `rest`, or until a use fails.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._held: AbstractAsyncContextManager[Connection] | None = None
        self._connection: Connection | None = None

    async def use(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        """What `statement` gives. Raises what asyncpg raises."""
        if self._connection is None:
            held = self._postgres.connection()
            self._connection = await held.__aenter__()
            self._held = held
        try:
            return await statement(self._connection)
        except BaseException:
            await self.rest()
            raise

    async def rest(self) -> None:
        """Give the connection back, if there is one."""
        held, self._held, self._connection = self._held, None, None
        if held is not None:
            await held.__aexit__(None, None, None)


async def _leave(connection: Connection) -> None:
    """Nothing is left behind in a session here, so nothing needs to be reset: that saves a round trip a use."""


def describe(error: BaseException) -> str:
    """One line about a failure."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
