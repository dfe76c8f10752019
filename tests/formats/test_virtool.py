"""Virtool's ids, and which status records a history leaves."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstore.formats.virtool import CODES, FORMAT, LETTERS, Job, code, identify
from jobstore.job import events as e
from jobstore.job.projection import Audience
from tests.histories import BEGIN, UID, histories, place

PROJECTION = FORMAT.projection


def shown(recorded: list[e.Recorded], revision: str = "2021") -> dict[str, Any]:
    view = PROJECTION.fold(recorded)
    job: dict[str, Any] = orjson.loads(PROJECTION.show(view, Audience(revision=revision), BEGIN))
    return job


def records(*events: e.Event, revision: str = "2021") -> list[tuple[Any, ...]]:
    """State, stage, error and progress of each record."""
    status = shown(place([e.JobQueued(uid=UID, kind="a", total=4), *events]), revision)["status"]
    return [(record["state"], record["stage"], record["error"], record["progress"]) for record in status]


# -- Ids ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 2**53))
def test_an_id_leads_back_to_its_number(number: int) -> None:
    assert identify(code(number)) == number


@given(st.text(LETTERS, min_size=8, max_size=8))
def test_every_id_of_the_vendor_belongs_to_a_number(id: str) -> None:
    number = identify(id)
    assert number is not None
    assert 1 <= number <= CODES
    assert code(number) == id


@given(st.integers(1, CODES))
def test_an_id_has_eight_characters(number: int) -> None:
    assert len(code(number)) == 8


@given(st.integers(1, 2 * 10**12))
def test_no_id_is_taken_for_a_number(number: int) -> None:
    assert not code(number).isdigit()


@pytest.mark.parametrize("edge", [1, 2 * 10**12, 26 * (CODES - 1) // 35, CODES, 2**53])
def test_ids_lead_back_where_the_scramble_changes(edge: int) -> None:
    for number in range(max(1, edge - 100), edge + 100):
        assert identify(code(number)) == number


def test_neighbours_look_nothing_alike() -> None:
    ids = [code(number) for number in range(1, 10_001)]
    assert len(set(ids)) == len(ids)
    for one, other in pairwise(ids):
        assert one[0] != other[0]
        assert sum(a == b for a, b in zip(one, other, strict=True)) <= 3


def test_what_no_job_is_called_is_no_id() -> None:
    for text in ("zzpugky", "zzpugkytaaaa", "azzpugkyt", "ZZPUGKYT", "zzpugky!", "zzpugkyt\n", "zzpugký1", "1" * 12):
        assert identify(text) is None, text


# -- Records ------------------------------------------------------------------------------------------------------

WAITS = ("waiting", None, None, 0)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        ([], []),
        ([e.JobStarting()], []),
        ([e.JobStarting(message="soon")], []),
        ([e.JobStarting(stage="a")], [("waiting", "a", None, 0)]),
        ([e.JobStarting(fraction=0.1)], [("waiting", None, None, 0.1)]),
        ([e.JobStarted()], [("running", None, None, 0)]),
        ([e.JobStarted(stage="a", fraction=0.5)], [("running", "a", None, 0.5)]),
        ([e.JobStarted(), e.ProgressReported(message="hm")], [("running", None, None, 0)]),
        ([e.JobStarted(), e.ProgressReported(done=1)], [("running", None, None, 0), ("running", None, None, 0.25)]),
        ([e.JobStarted(), e.OutputProduced(output=1), e.ResultRecorded(result=1)], [("running", None, None, 0)]),
        ([e.JobStarted(stage="a"), e.StopRequested(), e.JobStopping()], [("running", "a", None, 0)]),
        ([e.StopRequested()], [("running", None, None, 0)]),
        (
            [e.JobStarting(stage="a", fraction=0.3), e.JobCancelled(reason="enough")],
            [("waiting", "a", None, 0.3), ("cancelled", "a", None, 0.3)],
        ),
        (
            [e.JobStarted(stage="a", fraction=0.3), e.JobFailed(error={"type": "OSError"}, message="no")],
            [("running", "a", None, 0.3), ("error", "a", {"type": "OSError"}, 0.3)],
        ),
        ([e.JobFailed(message="no", stage="z")], [("error", "z", "no", 0)]),
        ([e.JobFailed(error=["a", 1])], [("error", None, ["a", 1], 0)]),
        ([e.JobFailed()], [("error", None, None, 0)]),
        ([e.JobStarted(stage="a"), e.JobCompleted()], [("running", "a", None, 0), ("complete", "a", None, 1)]),
        (
            [e.JobStarted(stage="a"), e.JobCompleted(stage="b", fraction=0.99)],
            [("running", "a", None, 0), ("complete", "b", None, 0.99)],
        ),
        (
            [e.JobStarted(stage="a", fraction=0.5), e.RetryScheduled(error="lost"), e.JobStarting(), e.JobStarted()],
            [("running", "a", None, 0.5), ("waiting", None, "lost", 0), ("running", None, None, 0)],
        ),
        ([e.JobCancelled(), e.JobRemoved()], [("cancelled", None, None, 0)]),
        ([e.Annotated(note="hm", data={"status": "odd", "error": "x"})], []),
    ],
)
def test_a_record_for_every_event_that_says_something_new(events: list[e.Event], left: list[tuple[Any, ...]]) -> None:
    assert records(*events) == [WAITS, *left]


def test_progress_is_in_percent_later() -> None:
    events = (e.JobStarted(fraction=0.29), e.ProgressReported(fraction=1 / 3), e.JobCompleted())
    assert [record[3] for record in records(*events)] == [0, 0.29, 1 / 3, 1]
    assert [record[3] for record in records(*events, revision="5.0")] == [0, 29, 33, 100]
    assert [type(record[3]) for record in records(*events)] == [int, float, float, int]


@given(histories)
def test_records_are_only_added_and_each_says_something_new(events: list[e.Event]) -> None:
    recorded, before = place(events), list[dict[str, Any]]()
    for version in range(1, len(recorded) + 1):
        status = shown(recorded[:version])["status"]
        assert status[: len(before)] == before
        assert len(status) - len(before) <= 1
        before = status
    said = [{**record, "timestamp": None} for record in before]
    assert all(one != other for one, other in pairwise(said))
    assert said[0] == {"state": "waiting", "stage": None, "error": None, "progress": 0, "timestamp": None}
    assert all(len(record["timestamp"]) == 27 for record in before)


@pytest.mark.parametrize("wrong", ["2", True, [2], {"a": 2}, None])
def test_what_is_no_number_of_processors_is_none(wrong: Any) -> None:
    view = PROJECTION.fold(place([e.JobQueued(uid=UID, kind="a", extra={"proc": wrong, "mem": 1.5})]))
    assert isinstance(view, Job)
    assert (view.proc, view.mem) == (None, 1.5)
