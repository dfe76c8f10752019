"""Knows how one process tells all others that something was committed; must not know what they do about it.

A NOTIFY in an append's transaction would make every commit wait for a lock of the whole server. So it is sent after
the commit, over a connection of its own, and heard over another. It only says where to look: whoever is not reached,
because a connection is lost or a pooler keeps no sessions, finds the same by looking there unasked.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg

from jobstore.store.batch import Draft
from jobstore.store.postgres import describe

NAME: Final = "jobstore bell"  # of its sessions, in pg_stat_activity
CHANNEL: Final = "jobstore"
MOST: Final = 7000  # bytes of a payload; Postgres takes 7,999
PAUSE: Final = 0.005  # seconds between rings: one costs as much as to write a few events, and takes all that is due
CHECK: Final = 15.0  # seconds of silence after which a connection is tried: one can be lost without a word
_SHORTEST: Final = 0.05  # seconds until a lost connection is made again, at first
_LONGEST: Final = 5.0

log = logging.getLogger(__name__)

Line = asyncpg.Connection
Hearer = Callable[[Mapping[int, int]], None]


class Bell:
    """Rings and listens. Nothing is connected before the first ring or the first hearer; no failure leaves here."""

    def __init__(self, dsn: str, *, patience: float = 10.0) -> None:
        self._dsn = dsn
        self._patience = patience
        self._due: dict[int, int] = {}  # how far accounts have come, to be told with the next ring
        self._wanted = asyncio.Event()
        self._ringing: asyncio.Task[None] | None = None
        self._hearers: set[Hearer] = set()
        self._listening: asyncio.Task[None] | None = None

    def ring(self, draft: Draft) -> None:
        """Tell every process that `draft` was committed. One NOTIFY is under way at a time; the next, a
        moment later, takes the rest."""
        for account_id, states in draft.states.items():
            if states:
                self._due[account_id] = max(self._due.get(account_id, 0), draft.heads[account_id].position)
        if self._due:
            self._wanted.set()
            if self._ringing is None:
                self._ringing = asyncio.create_task(self._keep(self._ring_on))

    def listen(self, hearer: Hearer) -> None:
        """Call `hearer` from now on with positions by account that were reached; with none: look everywhere."""
        self._hearers.add(hearer)
        if self._listening is None:
            self._listening = asyncio.create_task(self._keep(self._listen_on))

    async def close(self) -> None:
        """Ring and hear no more."""
        tasks = [task for task in (self._ringing, self._listening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, use: Callable[[Line], Awaitable[None]]) -> None:
        """Use a connection, and when it is lost another one, for ever."""
        loop = asyncio.get_running_loop()
        pause = _SHORTEST
        while True:
            begin = loop.time()
            try:
                line = await self._connect()
                try:
                    await use(line)
                finally:
                    line.terminate()
            except Exception as error:
                if loop.time() - begin > _LONGEST + self._patience:
                    pause = _SHORTEST  # it had worked
                if pause == _SHORTEST:
                    log.warning("no doorbell for now, processes find news by asking: %s", describe(error))
            await asyncio.sleep(pause)
            pause = min(_LONGEST, pause * 2)

    async def _connect(self) -> Line:
        return await asyncpg.connect(
            self._dsn,
            timeout=self._patience,
            command_timeout=self._patience,
            statement_cache_size=0,  # a pooler may give each statement another session
            # A ring that a crash of Postgres swallows is missed by nobody, so no ring waits for the disk.
            server_settings={"application_name": NAME, "synchronous_commit": "off"},
        )

    async def _ring_on(self, line: Line) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            due, self._due = self._due, {}
            try:
                await line.execute(f"NOTIFY {CHANNEL}, '{payload(due)}'")
            except BaseException:
                self._due = due | self._due
                self._wanted.set()
                raise
            await asyncio.sleep(PAUSE)

    async def _listen_on(self, line: Line) -> None:
        lost = asyncio.Event()
        line.add_termination_listener(lambda _: lost.set())
        await line.add_listener(CHANNEL, self._hear)
        self._tell({})  # what rang before was not heard
        while not lost.is_set():
            try:
                async with asyncio.timeout(CHECK):
                    await lost.wait()
            except TimeoutError:
                await line.execute("SELECT")
        raise ConnectionError("the connection was lost")

    def _hear(self, _line: Any, _pid: int, _channel: str, said: object) -> None:
        self._tell(heads(str(said)))

    def _tell(self, reached: Mapping[int, int]) -> None:
        for hearer in self._hearers:
            hearer(reached)


def payload(reached: Mapping[int, int]) -> str:
    """The text that says how far accounts have come; an empty one when that would be too long."""
    text = ",".join(f"{account_id}:{position}" for account_id, position in reached.items())
    return text if len(text) <= MOST else ""


def heads(text: str) -> dict[int, int]:
    """What a payload says; nothing for one that is empty, or not ours."""
    try:
        pairs = [part.split(":") for part in text.split(",")]
        return {int(account_id): int(position) for account_id, position in pairs}
    except ValueError:
        return {}
