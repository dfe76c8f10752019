"""Knows what to call a place where a chain breaks: what was done to the event there, as far as the log itself can tell.

A hash covers header and payload as one. That an event is missing, inserted or moved is proved by hashes that fit
elsewhere, and a changed header often by the value that makes its hash come true. What remains is called a changed
payload: a header that was changed to what could have stood there as well looks the same.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from jobstore.job import codec
from jobstore.store.sealed import Clues, End, Log, Sealed

Kind = Literal[
    "changed payload", "changed header", "changed hash", "missing", "inserted", "reordered",
    "cut off", "wrong head", "rewritten",
]  # fmt: skip

WINDOW: Final = 100  # events that may have been taken out or put in at one place for that to be seen

_HEADER: Final = ("job", "version", "type", "at", "by", "trace")
_TYPES: Final = frozenset(codec.NAMES.values())


class Finding(NamedTuple):
    """The first position at which a log does not hold, and how."""

    position: int
    kind: Kind
    said: str

    def __str__(self) -> str:
        return f"position {self.position}: {self.kind}: {self.said}"


class _Lost(NamedTuple):
    """The event that belongs to a place and stands further on, with its neighbours there."""

    event: Sealed
    before: Sealed
    after: Sealed | None
    distance: int


async def explain(log: Log, end: End, recent: Sequence[Sealed]) -> Finding:
    """What is wrong at the position after `end`, where another event stands than follows. `recent` came before."""
    position = end.position + 1
    here, following, lost = await _look(log, end)
    if lost is not None:
        said = f"what was recorded here stands {lost.distance} further on, at {lost.event.position}"
        return Finding(position, _moved(position, here, lost), said)
    if here.position > position:
        return Finding(position, "missing", f"the next event that is there has position {here.position}")
    if here.position < position:
        return Finding(position, "inserted", f"the event of position {here.position} stands here")
    return (
        _put_in(log, position, here, recent)
        or _taken_out(log, position, here, following)
        or _resealed(log, end, here, following)
        or _changed(end, here, recent, following, await log.clues(here))
    )


async def _look(log: Log, end: End) -> tuple[Sealed, Sealed | None, _Lost | None]:
    """The two events that stand after `end`, and the one that belongs there, if it stands elsewhere."""
    position = end.position + 1
    first: list[Sealed] = []
    before: Sealed | None = None
    lost: _Lost | None = None
    distance = 0
    async for page in log.pages(end.position):
        for event in page:
            if lost is not None:
                return first[0], first[1], lost._replace(after=event)
            if len(first) < 2:
                first.append(event)
            # Whole rows may have changed places, or all but their hashes.
            if before is not None and event._replace(position=position).after(end.hash) in (event.hash, first[0].hash):
                lost = _Lost(event, before, None, distance)
            before = event
            distance += 1
    return first[0], first[1] if len(first) > 1 else None, lost


def _moved(position: int, here: Sealed, lost: _Lost) -> Kind:
    """Whether others were put in before the lost event, or it changed places with them."""
    event, before, after, distance = lost
    if _fits(here, event.hash, position + 1) or _fits(here, before.hash, position + distance):
        return "reordered"
    goes_on = after is None or _fits(after, event.hash, position + 1)
    return "inserted" if event.hash != here.hash and goes_on else "reordered"


def _put_in(log: Log, position: int, here: Sealed, recent: Sequence[Sealed]) -> Finding | None:
    """The event follows on one further back: those between them have hashes, but were put in later."""
    hashes = [event.hash for event in recent]
    if len(recent) == position - 1 - log.begin.position:
        hashes.insert(0, log.begin.hash)
    for count, hash in enumerate(hashes[-2 : -WINDOW - 2 : -1], 1):
        if _fits(here, hash, position - count):
            return Finding(position - count, "inserted", f"what follows on {position - count - 1} stands at {position}")
    return None


def _taken_out(log: Log, position: int, here: Sealed, following: Sealed | None) -> Finding | None:
    """What comes next fits the event that stands here at a later position: they have moved up."""
    count = next((n for n in range(1, WINDOW + 1) if following and _fits(following, here.hash, position + 1 + n)), 0)
    if following is None and log.end is not None and log.end.hash == here.hash:
        count = log.end.position - position
    said = f"what stands here was recorded {count} further on, at {position + count}"
    return Finding(position, "missing", said) if count > 0 else None


def _resealed(log: Log, end: End, here: Sealed, following: Sealed | None) -> Finding | None:
    """What comes next follows on the hash that the event should have: only its hash was changed."""
    hash = here.after(end.hash)
    if following is not None:
        proved = following.after(hash) == following.hash
    else:
        proved = log.end is not None and log.end.hash == hash
    return Finding(end.position + 1, "changed hash", "all but the hash is as it was recorded") if proved else None


def _changed(end: End, here: Sealed, recent: Sequence[Sealed], following: Sealed | None, clues: Clues) -> Finding:
    near = [*recent, *([] if following is None else [following])]
    for guess in _guesses(here, near, clues):
        if guess.after(end.hash) == here.hash:
            differs = [name for name in _HEADER if getattr(guess, name) != getattr(here, name)]
            was = ", ".join(f"{name} {getattr(guess, name)}" for name in differs)
            return Finding(here.position, "changed header", f"it was recorded with {was}")
    odd = _oddity(here, recent, following)
    if odd is not None:
        return Finding(here.position, "changed header", odd)
    said = "its header agrees with the events around it, and its hash does not"
    return Finding(here.position, "changed payload", said)


def _guesses(here: Sealed, near: Sequence[Sealed], clues: Clues) -> Iterator[Sealed]:
    """The event as it may have been: with what others near it say in one place of its header."""
    yield from (here._replace(type=type) for type in sorted(_TYPES))
    yield from (here._replace(by=by) for by in sorted({*clues.actors, *(event.by for event in near)}))
    yield from (here._replace(trace=trace) for trace in {None, *clues.traces, *(event.trace for event in near)})
    yield from (here._replace(at=at) for at in {event.at for event in near})
    yield from (here._replace(job=job) for job in {event.job for event in near})
    yield from (here._replace(version=here.version + n) for n in range(-WINDOW, WINDOW + 1))
    yield from (here._replace(job=event.job, version=event.version + 1) for event in near)


def _oddity(here: Sealed, recent: Sequence[Sealed], following: Sealed | None) -> str | None:
    """What in the header cannot have been recorded here, if anything."""
    if here.type not in _TYPES:
        return f"there are no events of type {here.type!r}"
    if (here.type == "queued") != (here.version == 1):
        return f"version {here.version} of a job is not of type {here.type!r}"
    if (recent and here.at < recent[-1].at) or (following is not None and here.at > following.at):
        return "its time is not between those of its neighbours"
    before = next((event.version for event in reversed(recent) if event.job == here.job), here.version - 1)
    if here.version != before + 1:
        return f"version {here.version} of job {here.job} comes after version {before}"
    return None


def _fits(event: Sealed, before: bytes, position: int) -> bool:
    """Whether the event was recorded at `position`, after the one whose hash is `before`."""
    return event._replace(position=position).after(before) == event.hash
