"""Knows how far a job is, in every measure at once; must not know how any format spells it. Unknown is not 0."""

from msgspec import Struct

from jobstore.job.events import ProgressReported


class Progress(Struct, frozen=True, omit_defaults=True, gc=False):
    """The worker's last word on how far it is. The measure spoken last counts; the other one is derived from it."""

    fraction: float | None = None
    done: int | None = None
    total: int | None = None

    def after(self, event: ProgressReported) -> "Progress":
        """With what `event` says."""
        total = self.total if event.total is None else event.total
        if event.fraction is not None or event.done is not None:
            return Progress(event.fraction, event.done, total)
        return Progress(self.fraction, self.done, total)

    def at(self, fraction: float | None) -> "Progress":
        """With `fraction` reached; None says nothing."""
        return self if fraction is None else Progress(fraction, None, self.total)

    def knows(self, event: ProgressReported) -> bool:
        """Whether `event` says nothing new: that `after` would change nothing."""
        silent = event.fraction is None and event.done is None
        same = silent or (event.fraction == self.fraction and event.done == self.done)
        return same and (event.total is None or event.total == self.total)

    def finished(self) -> "Progress":
        """All of it done."""
        return Progress(1.0, self.total, self.total)

    def reset(self) -> "Progress":
        """Unknown again, of as many tasks as before."""
        return Progress(None, None, self.total)

    def as_fraction(self) -> float | None:
        """0..1, or None where nothing is known."""
        if self.fraction is not None or self.done is None or not self.total:
            return self.fraction
        return min(1.0, self.done / self.total)

    def as_done(self) -> int | None:
        """Tasks done, or None where nothing is known. A fraction counts only the tasks it covers whole."""
        if self.done is not None or self.fraction is None or self.total is None:
            return self.done
        return int(self.fraction * self.total + 1e-9)
