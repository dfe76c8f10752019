"""Knows a projection that can only be folded right: every event once, in order, from the first."""

from typing import Any, Final

import msgspec
import orjson

from jobstore.job.events import Recorded
from jobstore.job.projection import Projection
from jobstore.store.views import Shown


class Seen(msgspec.Struct):
    """The positions of the events folded."""

    positions: list[int] = []


def _evolve(view: Seen, recorded: Recorded) -> Seen:
    assert recorded.version == len(view.positions) + 1, f"version {recorded.version} after {len(view.positions)}"
    view.positions.append(recorded.position)
    return view


STRICT: Final[Projection[Any]] = Projection(
    name="strict", revision=1, view=Seen, evolve=_evolve, show=lambda view, audience, at: orjson.dumps(view.positions)
)


def seen(shown: Shown) -> list[int]:
    """The positions of the events that the view was folded from."""
    positions: list[int] = orjson.loads(shown.body)
    assert len(positions) == shown.version
    assert positions[-1] == shown.position
    return positions
