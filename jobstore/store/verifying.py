"""Knows how to find the first position at which a log does not hold; what it is called there, `findings` knows.

The events are read once, as a stream. Kept in memory are the page before, for whoever explains what comes next, and the
jobs that have erased payloads for which no record has come yet.
"""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Final

from jobstore.store.chain import digest, link, microseconds
from jobstore.store.checkpoints import Checkpoint
from jobstore.store.findings import Finding, explain
from jobstore.store.notes import Unproven
from jobstore.store.sealed import ERASED, End, Log, Sealed

_NOBODY: Final[Callable[[int], object]] = lambda position: None  # noqa: E731


class Broken(Unproven):
    """The log does not hold, and `finding` says where and how."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


async def verify(
    log: Log, checkpoints: Collection[Checkpoint] = (), progress: Callable[[int], object] = _NOBODY
) -> int:
    """How many events the log has, if all of it holds and extends each of `checkpoints`.

    `progress` is called with the position reached. Raises Broken, or Unproven where the log begins after a checkpoint.
    """
    count = 0
    async for page in verified(log, checkpoints):
        count += len(page)
        progress(page[-1].position)
    return count


async def verified(log: Log, checkpoints: Collection[Checkpoint] = ()) -> AsyncIterator[list[Sealed]]:
    """The events of a log, a page at a time, as far as they hold; raises as `verify` does."""
    end = log.begin
    recent: list[Sealed] = []
    erased: dict[int, int] = {}  # the position of a job's first event that is said to be erased
    checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.position)
    for checkpoint in checkpoints:
        if checkpoint.position < end.position:
            raise Unproven(f"{log.name} begins after position {end.position}, and the checkpoint is of one before that")
        if checkpoint.position == end.position:
            _compare(checkpoint, end.hash)
    async for page in log.pages(end.position):
        holds = follow(end, page)
        for checkpoint in checkpoints:
            if 0 < checkpoint.position - end.position <= holds:
                _compare(checkpoint, page[checkpoint.position - end.position - 1].hash)
        if holds < len(page):
            seen = [*recent, *page[:holds]]
            raise Broken(await explain(log, End(end.position + holds, seen[-1].hash if seen else end.hash), seen))
        for event in page:
            if event.erased is not None:
                erased.setdefault(event.job, event.position)
            if event.type == ERASED:
                erased.pop(event.job, None)
        end, recent = End(page[-1].position, page[-1].hash), page
        yield page
    _conclude(log, checkpoints, end)
    if erased and log.recorded is not None:
        for job in await log.recorded(erased):
            del erased[job]
        if erased:
            job = min(erased, key=erased.__getitem__)
            said = f"it is said to be erased, and no later event of job {job} records that"
            raise Broken(Finding(erased[job], "changed payload", said))


def follow(end: End, page: list[Sealed]) -> int:
    """How many of the first events of a page follow on `end` and on each other."""
    due, before = end
    for index, (position, job, version, type, at, by, trace, data, erased, hash) in enumerate(page):
        due += 1
        payload = digest(data) if erased is None else erased.hex()
        if position != due or link(before, position, job, version, type, microseconds(at), by, trace, payload) != hash:
            return index
        before = hash
    return len(page)


def _compare(checkpoint: Checkpoint, hash: bytes) -> None:
    if hash != checkpoint.hash:
        said = f"up to here it is another log than when the checkpoint was made, at {checkpoint.at:%Y-%m-%d %H:%M:%S}"
        raise Broken(Finding(checkpoint.position, "rewritten", said))


def _conclude(log: Log, checkpoints: Collection[Checkpoint], end: End) -> None:
    """All events hold: look whether they end where they should."""
    if log.end is None:
        raise Broken(Finding(end.position + 1, "cut off", log.endless))
    if end.position < log.end.position:
        said = f"the log ends at {end.position}, and should end at {log.end.position}"
        raise Broken(Finding(end.position + 1, "cut off", said))
    beyond = log.end.position + 1 if end.position > log.end.position else log.beyond
    if beyond is not None:
        raise Broken(Finding(beyond, "inserted", f"the log should end at {log.end.position}"))
    if end.hash != log.end.hash:
        raise Broken(Finding(end.position, "wrong head", "the log should end here with another hash"))
    for checkpoint in checkpoints:
        if checkpoint.position > end.position:
            said = f"the log ends at {end.position}, and when the checkpoint was made it ended at {checkpoint.position}"
            raise Broken(Finding(end.position + 1, "cut off", said))
