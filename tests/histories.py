"""Possible histories for Hypothesis: random commands, of which those that are not refused leave their events."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from jobstore.job import commands as c
from jobstore.job.decider import INITIAL, Refused, State, decide, evolve
from jobstore.job.events import Event, Recorded
from jobstore.job.projection import ANYBODY, Audience, Projection, V

UID = "018f3b6f78157eaa8000000000000001"
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
name = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
some = st.none() | text
count = st.integers(0, 50)
free: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
thing = st.dictionaries(text, free, max_size=3)

submit = st.builds(
    c.Submit,
    uid=st.just(UID),
    kind=name,
    args=thing,
    total=st.none() | count,
    user=st.none() | name,
    extra=thing,
    claim=some,
)
reached = st.none() | st.floats(0, 1)


def _progress(fraction: float | None, done: int | None, total: int | None, stage: str | None) -> c.ReportProgress:
    if done is not None and total is not None:
        done = min(done, total)
    if fraction is None and done is None and total is None and stage is None:
        fraction = 0.5
    return c.ReportProgress(fraction=fraction, done=done, total=total, stage=stage)


progress = st.builds(_progress, st.none() | st.floats(0, 1), st.none() | count, st.none() | count, some)

report: st.SearchStrategy[c.Report] = st.one_of(
    st.builds(c.Prepare, stage=some, message=some, fraction=reached),
    st.builds(c.Start, stage=some, message=some, fraction=reached),
    progress,
    progress,
    st.builds(c.ProduceOutput, output=free, key=st.none() | name),
    st.builds(c.RecordResult, result=free, key=st.none() | name),
    st.builds(c.RequestStop, reason=some),
    st.builds(c.BeginStopping, message=some),
    st.builds(c.Cancel, reason=some, stage=some, fraction=reached),
    st.builds(c.Complete, results=free, message=some, stage=some, fraction=reached),
    st.builds(c.Fail, error=free, message=some, stage=some, fraction=reached),
    st.builds(c.ScheduleRetry, delay=st.none() | st.floats(0, 1000), error=free, message=some),
    st.builds(c.Annotate, note=text, data=st.none() | thing),
    st.builds(c.Remove, reason=some),
)

# Most random commands are refused by most states; a plausible opening makes long histories likely.
_opening: st.SearchStrategy[list[c.Report]] = st.sampled_from(
    [[], [c.Start()], [c.Prepare(), c.Start()], [c.Start(), c.ReportProgress(fraction=0.1)]]
)


def lived(commands: list[c.Command]) -> tuple[State, list[Event]]:
    """The state and the events that `commands` leave; what is refused leaves nothing."""
    state, events = INITIAL, []
    for command in commands:
        try:
            added = decide(state, command)
        except Refused:
            continue
        for event in added:
            events.append(event)
            state = evolve(state, event)
    return state, events


def place(events: list[Event], job: int = 7) -> list[Recorded]:
    """The events in a log of which other jobs have a part: a second apart, every third position."""
    return [
        Recorded(3 * version, job, version, BEGIN + timedelta(seconds=version), "acme/tests", event)
        for version, event in enumerate(events, 1)
    ]


def rendered(projection: Projection[V], view: V, audience: Audience = ANYBODY, at: datetime = BEGIN) -> bytes:
    """What a projection shows of a view."""
    return projection.show(view, audience, at)


commands: st.SearchStrategy[list[c.Command]] = st.builds(
    lambda first, opening, rest: [first, *opening, *rest], submit, _opening, st.lists(report, max_size=25)
)
histories: st.SearchStrategy[list[Event]] = commands.map(lambda said: lived(said)[1])
