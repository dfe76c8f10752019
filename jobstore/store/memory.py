"""Knows what this process expects of the database, so that most appends need not ask before they write.

Heads and job states are as the last draft of this process left them. They hold while the head has the hash remembered
here: that is a fingerprint of the whole history before it. What turns out wrong is forgotten, never repaired.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from jobstore.store.batch import Draft, Head, Jobs, Known

_NONE: Final[Mapping[int, Known]] = {}


class Memory:
    """Heads, and the states of at most `size` jobs."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._heads: OrderedDict[int, Head] = OrderedDict()
        self._states: dict[int, dict[int, Known]] = {}

    def head(self, account_id: int) -> Head | None:
        """A copy, for a draft to move on."""
        head = self._heads.get(account_id)
        return None if head is None else replace(head)

    def jobs(self, account_id: int) -> Mapping[int, Known]:
        """The account's jobs by number, for now: what is learned or forgotten later changes it."""
        return self._states.get(account_id, _NONE)

    def confirm(self, account_id: int, head: Head) -> None:
        """The account's log ends at `head`: forget what does not belong to it."""
        before = self._heads.get(account_id)
        if before is None or before.hash != head.hash:
            self._forget(account_id)
            self._heads[account_id] = replace(head)

    def learn(self, draft: Draft) -> None:
        """Expect what `draft` leaves."""
        for account_id, head in draft.heads.items():
            self._heads[account_id] = replace(head)
            self._heads.move_to_end(account_id)
        self.keep(draft.states)

    def keep(self, jobs: Jobs) -> None:
        """Remember where `jobs` stand, of accounts whose heads are remembered."""
        for account_id, known in jobs.items():
            states = self._states.setdefault(account_id, {})
            self._count -= len(states)
            states.update(known)
            self._count += len(states)
        while self._count > self._size and len(self._heads) > 1:
            self._forget(next(iter(self._heads)))
        if self._count > self._size:
            self._count = 0
            self._states.clear()

    def expects(self, draft: Draft) -> bool:
        """Whether nothing has happened since `draft` was learned."""
        return all(
            (expected := self._heads.get(account_id)) is not None and expected.hash == head.hash
            for account_id, head in draft.heads.items()
        )

    def _forget(self, account_id: int) -> None:
        self._heads.pop(account_id, None)
        self._count -= len(self._states.pop(account_id, ()))
