"""Laws of the native view, over histories that can happen, and examples of what it shows."""

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstore.formats import PROJECTIONS, native
from jobstore.formats.native import PROJECTION
from jobstore.job import codec
from jobstore.job import events as e
from jobstore.job.decider import INITIAL, LEADS_TO, evolve
from tests.histories import BEGIN, UID, histories, place, rendered

TIMES = ("created_at", "started_at", "updated_at", "ended_at")


def shown(recorded: list[e.Recorded]) -> dict[str, Any]:
    job: dict[str, Any] = orjson.loads(rendered(PROJECTION, PROJECTION.fold(recorded)))
    return job


def job_after(*events: e.Event, **queued: Any) -> dict[str, Any]:
    """What is shown of a job after these events."""
    return shown(place([e.JobQueued(uid=UID, kind="index.build", **queued), *events]))


def second(n: int) -> str:
    return f"2026-01-31T12:00:{n:02}Z"


# -- Laws ---------------------------------------------------------------------------------------------------------


@given(histories)
def test_the_view_at_every_prefix_is_the_fold_of_that_prefix(events: list[e.Event]) -> None:
    recorded = place(events)
    view, lived = PROJECTION.fold(()), []
    for one in recorded:
        view = PROJECTION.evolve(view, one)
        lived.append(rendered(PROJECTION, view))
    for version, body in enumerate(lived, 1):
        assert rendered(PROJECTION, PROJECTION.fold(recorded[:version])) == body


@given(histories, st.data())
def test_a_fold_that_is_frozen_and_thawed_on_its_way_is_a_fold_in_one(
    events: list[e.Event], data: st.DataObject
) -> None:
    recorded = place(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    view = PROJECTION.fold(())
    for begin, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        view = PROJECTION.thaw(PROJECTION.freeze(PROJECTION.fold(recorded[begin:end], view)))
    whole = PROJECTION.fold(recorded)
    assert view == whole
    assert rendered(PROJECTION, view) == rendered(PROJECTION, whole)


@given(histories)
def test_what_was_read_back_looks_like_what_was_said(events: list[e.Event]) -> None:
    stored = [codec.decode(codec.name(event), codec.encode(event)) for event in events]
    assert rendered(PROJECTION, PROJECTION.fold(place(stored))) == rendered(PROJECTION, PROJECTION.fold(place(events)))


@given(histories)
def test_every_prefix_can_be_shown_and_makes_sense(events: list[e.Event]) -> None:
    recorded, state = place(events), INITIAL
    for version, one in enumerate(recorded, 1):
        job, state = shown(recorded[:version]), evolve(state, one.event)
        progress = job["progress"]
        assert (job["id"], job["number"], job["version"], job["position"]) == (UID, 7, version, 3 * version)
        assert job["state"] in get_args(e.Phase)
        assert job["state"] == state.phase
        assert progress["fraction"] is None or 0 <= progress["fraction"] <= 1
        assert progress["done"] is None or progress["done"] >= 0
        if progress["done"] is not None and progress["total"] is not None:
            assert progress["done"] <= progress["total"]
        assert job["state"] != "completed" or progress["fraction"] == 1
        assert (job["ended_at"] is not None) == (job["state"] in ("completed", "failed", "cancelled"))
        times = [job[name] for name in ("created_at", "started_at", "updated_at") if job[name] is not None]
        assert times == sorted(times)
        assert job["updated_at"] == one.at.isoformat().replace("+00:00", "Z")
        assert (job["ended_at"] or job["updated_at"]) <= job["updated_at"]


@given(histories)
def test_outputs_and_results_are_all_there_and_a_key_is_there_once(events: list[e.Event]) -> None:
    job = shown(place(events))
    for kind, list_of in (
        (e.OutputProduced, job["outputs"]),
        (e.ResultRecorded, PROJECTION.fold(place(events)).results.all),
    ):
        said = [event for event in events if isinstance(event, kind)]
        keys = [event.key for event in said if event.key is not None]
        assert len(list_of) == len(said) - len(keys) + len(set(keys))
    errors = [event.error for event in events if isinstance(event, e.JobFailed | e.RetryScheduled)]
    assert job["errors"] == [error for error in errors if error is not None]


# -- Examples -----------------------------------------------------------------------------------------------------


def test_a_new_job_knows_nothing_of_its_progress() -> None:
    assert job_after(args={"a": 1}, user="ann", total=4) == {
        "id": UID, "number": 7, "kind": "index.build", "args": {"a": 1}, "state": "queued",
        "progress": {"fraction": None, "done": None, "total": 4}, "stage": None, "message": None, "outputs": [],
        "results": [], "errors": [], "user": "ann", "extra": {}, "created_at": second(1), "started_at": None,
        "updated_at": second(1), "ended_at": None, "version": 1, "position": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "progress"),
    [
        ([e.ProgressReported(fraction=0.5)], (0.5, 2, 4)),
        ([e.ProgressReported(fraction=0.99)], (0.99, 3, 4)),
        ([e.ProgressReported(done=1)], (0.25, 1, 4)),
        ([e.ProgressReported(fraction=0.5), e.ProgressReported(done=3)], (0.75, 3, 4)),
        ([e.ProgressReported(done=3), e.ProgressReported(fraction=0.5)], (0.5, 2, 4)),
        ([e.ProgressReported(done=3), e.ProgressReported(total=6)], (0.5, 3, 6)),
        ([e.ProgressReported(done=3), e.ProgressReported(stage="load")], (0.75, 3, 4)),
        ([e.ProgressReported(done=0)], (0, 0, 4)),
        ([e.ProgressReported(done=3), e.RetryScheduled()], (None, None, 4)),
        ([e.ProgressReported(done=3), e.JobFailed()], (0.75, 3, 4)),
        ([e.ProgressReported(done=3), e.JobCompleted()], (1, 4, 4)),
        ([e.JobCompleted()], (1, 4, 4)),
    ],
)
def test_progress_is_what_was_said_last_in_every_measure(said: list[e.Event], progress: tuple[Any, ...]) -> None:
    shown = job_after(e.JobStarted(), *said, total=4)["progress"]
    assert (shown["fraction"], shown["done"], shown["total"]) == progress


def test_without_a_total_tasks_are_counted_and_no_fraction_is_made_up() -> None:
    assert job_after(e.JobStarted(), e.ProgressReported(done=3))["progress"] == {
        "fraction": None,
        "done": 3,
        "total": None,
    }
    assert job_after(e.JobStarted(), e.JobCompleted())["progress"] == {"fraction": 1.0, "done": None, "total": None}


def test_a_retry_begins_anew_and_keeps_what_went_wrong_and_what_was_made() -> None:
    first: list[e.Event] = [
        e.JobStarted(stage="load", message="go"),
        e.ProgressReported(done=3),
        e.OutputProduced(output=1, key="a"),
    ]
    waiting = job_after(*first, e.RetryScheduled(delay=5, error={"code": 7}, message="again"), total=4)
    assert (waiting["state"], waiting["stage"], waiting["message"]) == ("queued", None, "again")
    assert (waiting["started_at"], waiting["errors"], waiting["outputs"]) == (None, [{"code": 7}], [1])
    again = job_after(*first, e.RetryScheduled(error={"code": 7}), e.JobStarted(), e.JobFailed(error="text"), total=4)
    assert (again["state"], again["errors"]) == ("failed", [{"code": 7}, "text"])
    assert (again["created_at"], again["started_at"], again["ended_at"]) == (second(1), second(6), second(7))


def test_an_output_takes_the_place_of_the_one_with_its_key() -> None:
    outputs = [("a", 1), (None, 2), ("b", 3), ("a", {"new": 4}), (None, 2), ("b", None)]
    said = [e.OutputProduced(output=output, key=key) for key, output in outputs]
    assert job_after(e.JobStarted(), *said)["outputs"] == [{"new": 4}, 2, None, 2]


@pytest.mark.parametrize(("verdict", "results"), [(None, [1, 2]), ({"all": "well"}, {"all": "well"}), ([], []), (0, 0)])
def test_the_results_are_what_completed_said_or_else_those_recorded(verdict: Any, results: Any) -> None:
    recorded = [e.ResultRecorded(result=0, key="x"), e.ResultRecorded(result=2), e.ResultRecorded(result=1, key="x")]
    assert job_after(e.JobStarted(), *recorded, e.JobCompleted(results=verdict))["results"] == results


def test_a_remark_and_a_removal_change_nothing_but_the_version() -> None:
    before = job_after(e.JobFailed())
    after = job_after(e.JobFailed(), e.Annotated(note="x"), e.JobRemoved())
    moved = {"version", "position", "updated_at"}
    assert {k: v for k, v in before.items() if k not in moved} == {k: v for k, v in after.items() if k not in moved}
    assert PROJECTION.fold(place([e.JobQueued(uid=UID, kind="x"), e.JobFailed(), e.JobRemoved()])).removed


def test_a_message_stays_until_another_one_and_reasons_are_messages() -> None:
    life: list[e.Event] = [
        e.JobStarting(stage="a", message="m"),
        e.JobStarted(),
        e.StopRequested(reason="not shown"),
        e.JobStopping(),
    ]
    assert (job_after(*life)["stage"], job_after(*life)["message"]) == ("a", "m")
    assert job_after(*life, e.JobCancelled(reason="enough"))["message"] == "enough"


def test_every_event_that_leads_somewhere_shows_it() -> None:
    for kind, phase in LEADS_TO.items():
        event: Any = kind
        if kind is not e.JobQueued:
            assert job_after(event())["state"] == phase


def test_a_recorded_event_is_shown_with_its_payload_as_it_was_stored() -> None:
    text = '{"b": 1.0,  "a":18446744073709551615}'
    line = native.recorded(3, 7, 1, "annotated", BEGIN, text, "acme/tests")
    assert text.encode() in line
    assert orjson.loads(line) == {
        "position": 3, "job": 7, "version": 1, "type": "annotated", "at": "2026-01-31T12:00:00Z",
        "data": {"b": 1.0, "a": 18446744073709551615}, "by": "acme/tests",
    }  # fmt: skip
    assert PROJECTIONS["native"] is PROJECTION
