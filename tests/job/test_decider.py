"""Given past events, when a command, then new events or a refusal."""

from typing import Any

import pytest

from jobstore.job import commands as c
from jobstore.job import events as e
from jobstore.job.decider import INITIAL, LEADS_TO, TAKES, Refused, decide, evolve

QUEUED = e.JobQueued(uid="0" * 32, kind="index.build")
STARTED = e.JobStarted()


def when(past: list[e.Event], command: c.Command) -> tuple[e.Event, ...]:
    state = INITIAL
    for event in past:
        state = evolve(state, event)
    return decide(state, command)


@pytest.mark.parametrize(
    ("past", "command", "events"),
    [
        ([], c.Submit(uid="0" * 32, kind="index.build"), [QUEUED]),
        ([QUEUED], c.Start(stage="load"), [e.JobStarted(stage="load")]),
        ([QUEUED], c.Cancel(), [e.JobCancelled()]),
        ([QUEUED], c.Fail(error="no such index"), [e.JobFailed(error="no such index")]),
        ([QUEUED, STARTED], c.Start(), []),
        ([QUEUED, STARTED], c.ReportProgress(fraction=0.4), [e.ProgressReported(fraction=0.4)]),
        ([QUEUED, STARTED, e.ProgressReported(fraction=0.4)], c.ReportProgress(fraction=0.4), []),
        # done took the fraction's place, so the fraction is news again
        (
            [QUEUED, STARTED, e.ProgressReported(fraction=0.4), e.ProgressReported(done=9)],
            c.ReportProgress(fraction=0.4),
            [e.ProgressReported(fraction=0.4)],
        ),
        ([QUEUED, STARTED, e.StopRequested()], c.RequestStop(reason="again"), []),
        ([QUEUED, STARTED, e.StopRequested()], c.Complete(), [e.JobCompleted()]),
        ([QUEUED, STARTED, e.JobCompleted(results=[1])], c.Complete(), []),
        ([QUEUED, STARTED, e.JobCompleted(results=[1])], c.Complete(results=[1]), []),
        ([QUEUED, STARTED, e.JobCompleted()], c.Remove(), [e.JobRemoved()]),
        ([QUEUED, STARTED], c.ScheduleRetry(delay=3), [e.RetryScheduled(delay=3)]),
        ([QUEUED, STARTED, e.OutputProduced(output=1, key="a")], c.ProduceOutput(output=1, key="a"), []),
        ([QUEUED, STARTED, e.OutputProduced(output=1)], c.ProduceOutput(output=1), [e.OutputProduced(output=1)]),
    ],
)  # fmt: skip
def test_what_is_said_is_recorded_once(past: list[e.Event], command: c.Command, events: list[e.Event]) -> None:
    assert list(when(past, command)) == events


@pytest.mark.parametrize(
    ("past", "command", "reason"),
    [
        ([], c.Start(), "there is no such job"),
        ([QUEUED], c.Submit(uid="1" * 32, kind="again"), "exists already"),
        ([QUEUED], c.ReportProgress(fraction=0.1), "queued and cannot take progress before it has started"),
        ([QUEUED], c.Complete(), "before it has started: report started first"),
        ([QUEUED], c.Remove(), "cannot be removed before it has ended"),
        ([QUEUED, STARTED, e.JobCompleted()], c.Start(), "completed and cannot be started any more"),
        ([QUEUED, STARTED, e.JobCompleted(results=[1])], c.Complete(results=[2]), "cannot be completed any more"),
        ([QUEUED, STARTED, e.JobFailed()], c.ReportProgress(fraction=1), "failed and cannot take progress any more"),
        ([QUEUED, STARTED, e.StopRequested()], c.ScheduleRetry(), "asked to stop and cannot be scheduled"),
        ([QUEUED, STARTED, e.JobFailed(), e.JobRemoved()], c.Annotate(note="x"), "was removed"),
        ([QUEUED, STARTED, e.ProgressReported(total=3)], c.ReportProgress(done=4), "done (4) is more than"),
        ([QUEUED, STARTED, e.ProgressReported(done=4)], c.ReportProgress(total=3), "done (4) is more than"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(past: list[e.Event], command: c.Command, reason: str) -> None:
    with pytest.raises(Refused, match=reason.replace("(", r"\(").replace(")", r"\)")):
        when(past, command)


@pytest.mark.parametrize("kind", TAKES)
def test_every_phase_takes_or_refuses_every_command(kind: Any) -> None:
    needed: dict[Any, dict[str, Any]] = {
        c.ProduceOutput: {"output": 1},
        c.RecordResult: {"result": 1},
        c.ReportProgress: {"fraction": 0.5},
        c.Annotate: {"note": "x"},
    }
    fields = needed.get(kind, {})
    by_phase = {phase: [QUEUED, *_way_to(phase)] for phase in set(LEADS_TO.values())}
    for phase, past in by_phase.items():
        try:
            taken = bool(when(past, kind(**fields)))
        except Refused:
            taken = False
        assert taken == (phase in TAKES[kind] and not _says_what_is_so(phase, kind)), phase


def _way_to(phase: str) -> list[e.Event]:
    if phase == "queued":
        return []
    event: Any = next(event for event, leads_to in LEADS_TO.items() if leads_to == phase)
    return [STARTED, event()] if phase not in ("starting", "running") else [event()]


def _says_what_is_so(phase: str, kind: Any) -> bool:
    same = {
        c.RequestStop: ("stop_requested", "stopping"),
        c.BeginStopping: ("stopping",),
        c.Prepare: ("starting",),
        c.Start: ("running",),
    }
    return phase in same.get(kind, ())
