"""Knows how the logs of accounts are followed while they grow; must not know who listens, or what for. The rules:

1. A position is up to where an account's listeners were called. It moves by what follows on directly, and never back.
   So nothing is skipped and nothing comes twice, whatever is heard in which order.
2. How far a log reaches is hearsay: from this process' own commits, from the bell, and from one question a second about
   all accounts that are followed. Hearsay makes a log be read, and what is read is delivered. False or late, it harms
   nothing.
3. An own commit that follows on directly is delivered as it is, without being read back.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from jobstore.store.batch import Draft
from jobstore.store.bell import Bell
from jobstore.store.coalesce import Coalescer
from jobstore.store.history import PAGE, Entry, History
from jobstore.store.postgres import Postgres, describe

READERS: Final = 2  # logs read at once; after an outage many are behind, and requests need connections too

HEADS: Final = "SELECT account_id, position FROM heads WHERE account_id = ANY($1::integer[])"

_UNKNOWN: Final = -1  # nothing follows on that

log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Entry]], None]


@dataclass(slots=True, eq=False)
class _Followed:
    """An account that is followed. `head` is how far its log is said to reach."""

    account_id: int
    position: int = _UNKNOWN
    head: int = 0
    waiting: int = 0  # who waits until the position is known
    listeners: dict[Listener, None] = field(default_factory=dict)
    reading: asyncio.Task[None] | None = None


class Tail:
    """Follows accounts, with one reading for all who listen to one. `interval`: seconds from question to question."""

    def __init__(self, postgres: Postgres, history: History, bell: Bell, *, interval: float = 1.0) -> None:
        self._postgres = postgres
        self._history = history
        self._bell = bell
        self._interval = interval
        self._followed: dict[int, _Followed] = {}
        self._heads: Coalescer[int, int] = Coalescer(self._load_heads)
        self._readers = asyncio.Semaphore(READERS)
        self._everywhere = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    async def follow(self, account_id: int, listener: Listener) -> int:
        """The position after which `listener` is called with every entry of the account's log, in order, once.

        Entries come in batches, the same ones to all listeners of the account. The position is the log's end, or short
        of it by what is being read. A listener that follows already is told up to where it was called. Raises
        Unavailable.
        """
        followed = self._followed.get(account_id)
        if followed is None:
            # It is there before its end is asked for, so whatever is committed after the answer is heard.
            followed = self._followed[account_id] = _Followed(account_id)
            self._attend()
        followed.waiting += 1
        try:
            if followed.position == _UNKNOWN:
                head = await self._heads.ask(account_id) or 0
                if followed.position == _UNKNOWN:
                    followed.position = head
                self._reach(account_id, head)
            followed.listeners[listener] = None
            return followed.position
        finally:
            followed.waiting -= 1
            self._leave(followed)

    def unfollow(self, account_id: int, listener: Listener) -> None:
        """Call `listener` no more. With the last one the account is no longer read."""
        followed = self._followed.get(account_id)
        if followed is not None:
            followed.listeners.pop(listener, None)
            self._leave(followed)

    def position(self, account_id: int) -> int | None:
        """Up to where all listeners of the account were called; None when nobody follows it."""
        followed = self._followed.get(account_id)
        return None if followed is None or followed.position == _UNKNOWN else followed.position

    def hear(self, draft: Draft) -> None:
        """This process has committed `draft`."""
        accounts = draft.states.keys() & self._followed.keys() if self._followed else ()
        if not accounts:
            return
        added: dict[int, list[Entry]] = {}
        for row in draft.events:
            if row[0] in accounts:
                added.setdefault(row[0], []).append(Entry(*row[1:9]))
        for account_id, entries in added.items():
            followed = self._followed.get(account_id)  # a listener of another account may have ended this one
            if followed is not None and entries[0].position <= followed.position + 1:
                _deliver(followed, entries)
            else:
                self._reach(account_id, entries[-1].position)

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = [self._asking, *(followed.reading for followed in self._followed.values())]
        self._followed.clear()
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _attend(self) -> None:
        self._bell.listen(self._hear_bell)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    def _leave(self, followed: _Followed) -> None:
        """Forget an account that nobody follows."""
        account_id = followed.account_id
        if not followed.listeners and not followed.waiting and self._followed.get(account_id) is followed:
            del self._followed[account_id]
            if followed.reading is not None:
                followed.reading.cancel()

    def _hear_bell(self, heads: Mapping[int, int]) -> None:
        for account_id, head in heads.items():
            self._reach(account_id, head)
        if not heads:
            self._everywhere.set()

    def _reach(self, account_id: int, head: int) -> None:
        """The account's log is said to reach up to `head`."""
        followed = self._followed.get(account_id)
        if followed is not None:
            followed.head = max(followed.head, head)
            if followed.head > followed.position != _UNKNOWN and followed.reading is None:
                followed.reading = asyncio.create_task(self._read(followed))

    async def _ask(self) -> None:
        """Ask how far the logs reach, again and again while any is followed."""
        while self._followed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._everywhere.wait()
            self._everywhere.clear()
            try:
                for account_id, head in (await self._load_heads(list(self._followed))).items():
                    self._reach(account_id, head)
            except Exception as error:
                log.warning("what is followed may be behind: %s", describe(error))
        self._asking = None

    async def _load_heads(self, accounts: list[int]) -> dict[int, int]:
        rows = await self._postgres.read(lambda connection: connection.fetch(HEADS, accounts))
        return {row[0]: row[1] for row in rows}

    async def _read(self, followed: _Followed) -> None:
        """Read a log up to its end. Own commits may be delivered meanwhile."""
        try:
            async with self._readers:
                while True:
                    said = followed.head
                    page = await self._history.of_account(followed.account_id, after=followed.position)
                    _deliver(followed, page)
                    # A page that is not full has all that was said before it was asked for.
                    if len(page) < PAGE and (followed.head == said or followed.head <= followed.position):
                        followed.head = followed.position
                        return
        except Exception as error:
            log.warning("account %d is behind, and read again soon: %s", followed.account_id, describe(error))
        finally:
            followed.reading = None


def _deliver(followed: _Followed, entries: Sequence[Entry]) -> None:
    """Call the listeners with those entries that are new. The first one follows on directly, or is not new."""
    fresh = [entry for entry in entries if entry.position > followed.position]
    if not fresh:
        return
    followed.position = fresh[-1].position
    for listener in tuple(followed.listeners):
        if listener in followed.listeners:  # one before it may have ended this one
            try:
                listener(fresh)
            except Exception:
                log.exception("a listener failed")
