"""Knows what can be asked of an account's jobs as a whole; must not know where they are kept or who asks."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from jobstore.job.events import Phase


class Search(Struct, frozen=True, kw_only=True):
    """Jobs that were not removed: which of them, in which order, and from the how-manieth on.

    `phases` None is every phase. `text` is looked for, in any case of letters, in the job's kind and user. `since` is
    the least moment, inclusive, of whatever `order` goes by: the creation of a job or its last event.
    """

    phases: frozenset[Phase] | None = None
    text: str | None = None
    since: datetime | None = None
    order: Literal["created", "updated"] = "created"
    descending: bool = True
    offset: int = 0
    limit: int
