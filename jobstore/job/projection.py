"""Knows what a projection is: a fold of a job's events into a view, and its memo. Must not know any format."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from jobstore.job.events import Recorded

V = TypeVar("V", bound=msgspec.Struct)


class Audience(NamedTuple):
    """To whom a job is shown: a client that reached the server under `url`, which ends without a slash, with a key of
    `account`, and expects the wire shape named `revision`."""

    url: str = ""
    account: str = ""
    revision: str = ""


ANYBODY: Final = Audience()


TICK: Final = timedelta(seconds=1)


def tick(at: datetime) -> datetime:
    """The moment as of which a view is shown at `at`. Views change once a second, so those of a second are all one,
    whoever asked first, and whoever asks later for what they were."""
    # Half of what `replace` takes.
    return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, tzinfo=at.tzinfo)


def _stands_still(_: Any) -> bool:
    return False


@dataclass(frozen=True)
class Projection(Generic[V]):
    """A fold with a name. `revision` says which fold made a memo: a memo of another revision is not read.

    `evolve` may change the view that it is given and must return it; `show` renders a view as the bytes of an answer,
    for an audience and as of a tick. `runs` says whether that answer changes as time goes by, once a second.
    """

    name: str
    revision: int
    view: type[V]
    evolve: Callable[[V, Recorded], V]
    show: Callable[[V, Audience, datetime], bytes]
    runs: Callable[[V], bool] = _stands_still

    def fold(self, events: Iterable[Recorded], onto: V | None = None) -> V:
        """The view after `events`, from nothing or onto a view folded before."""
        view, evolve = self.view() if onto is None else onto, self.evolve
        for event in events:
            view = evolve(view, event)
        return view

    def freeze(self, view: V) -> str:
        """The view as text, for a memo."""
        return msgspec.json.encode(view).decode()

    def thaw(self, memo: str) -> V:
        """The view that `freeze` wrote. Raises msgspec.ValidationError when it is not one."""
        return msgspec.json.decode(memo, type=self.view)
