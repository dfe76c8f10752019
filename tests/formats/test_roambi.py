"""What Roambi's view makes of whatever a worker says: a code, an object, a number."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from jobstore.formats.roambi import CANCELLED, FAILED, FORMAT, STATUSES
from jobstore.job import events as e
from tests.histories import UID, free, histories, place, rendered


def job_after(*events: e.Event, total: int | None = None) -> dict[str, Any]:
    """What is shown of a job after these events."""
    first = e.JobQueued(uid=UID, kind="analytics.publish", total=total)
    return shown([first, *events])


def shown(events: list[e.Event]) -> dict[str, Any]:
    projection = FORMAT.projection
    job: dict[str, Any] = orjson.loads(rendered(projection, projection.fold(place(events))))["job"]
    return job


@given(free)
def test_every_error_has_a_code_and_every_verdict_is_an_object(said: Any) -> None:
    failed = job_after(e.JobFailed(error=said))
    assert (failed["status"], type(failed["exception"]) in (int, float, str)) == ("error", True)
    results = job_after(e.JobStarted(), e.JobCompleted(results=said))["results"]
    assert results == (said if said is None or isinstance(said, dict) else {"results": said})


@given(histories)
def test_only_a_job_that_failed_or_was_cancelled_has_an_exception(events: list[e.Event]) -> None:
    job = shown(events)
    assert (job["exception"] is not None) == (job["status"] == "error")
    assert (job["progress"] == 1) >= (job["status"] == "complete")


@pytest.mark.parametrize(
    ("error", "exception"),
    [
        (1042, 1042),
        (4.5, 4.5),
        (0, 0),
        ("invalid_file_format", "invalid_file_format"),
        ({"code": 7, "exception": 8}, 7),
        ({"code": None, "exception": "E8"}, "E8"),
        ({"code": {"deep": 1}}, FAILED),
        ({"message": "broken"}, FAILED),
        ([7], FAILED),
        (True, FAILED),
        ("", FAILED),
        ("x" * 64, "x" * 64),
        ("x" * 65, FAILED),
        (None, FAILED),
    ],
)
def test_the_code_is_the_workers_or_that_of_a_failure_without_one(error: Any, exception: Any) -> None:
    assert job_after(e.JobFailed(error=error, message="not a code"))["exception"] == exception
    assert job_after(e.JobCancelled(reason="not a code"))["exception"] == CANCELLED


def test_an_error_that_is_tried_again_is_no_exception() -> None:
    job = job_after(e.JobStarted(), e.ProgressReported(fraction=0.5), e.RetryScheduled(error=7, delay=60))
    assert (job["status"], job["exception"], job["progress"], job["retry_after"]) == ("processing", None, 0, 3)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ([], "0"),
        ([e.ProgressReported(fraction=0.0)], "0"),
        ([e.ProgressReported(done=1, total=4)], "0.25"),
        ([e.ProgressReported(done=3)], "0"),
        ([e.ProgressReported(fraction=1.0)], "1"),
        ([e.ProgressReported(fraction=0.4), e.JobFailed(fraction=0.75)], "0.75"),
        ([e.ProgressReported(fraction=0.4), e.JobCancelled()], "0.4"),
        ([e.JobCompleted(fraction=0.5)], "1"),
    ],
)
def test_progress_is_a_number_that_is_whole_where_it_can_be(said: list[e.Event], written: str) -> None:
    projection = FORMAT.projection
    view = projection.fold(place([e.JobQueued(uid=UID, kind="x"), e.JobStarted(), *said]))
    assert f'"progress":{written},' in rendered(projection, view).decode()


def test_without_a_verdict_results_are_what_was_made_on_the_way() -> None:
    made: list[e.Event] = [e.JobStarted(), e.OutputProduced(output="a.rbi", key="file")]
    assert job_after(*made)["results"] == {"outputs": ["a.rbi"]}
    made += [e.OutputProduced(output="b.rbi", key="file"), e.ResultRecorded(result=1), e.JobCompleted()]
    assert job_after(*made)["results"] == {"results": [1], "outputs": ["b.rbi"]}
    assert job_after(*made[:-1], e.JobCompleted(results={}))["results"] == {}


def test_there_are_three_statuses() -> None:
    assert set(STATUSES.values()) == {"processing", "complete", "error"}


@pytest.mark.parametrize("written", [UID, UID.upper(), f"{UID[:8]}-{UID[8:12]}-{UID[12:16]}-{UID[16:20]}-{UID[20:]}"])
def test_a_uid_is_known_with_and_without_dashes(written: str) -> None:
    assert FORMAT.identify(written) == UID


@pytest.mark.parametrize("text", ["1", UID[:-1], UID + "0", "-" * 32, "3b6f7815-eaa5-4b...", "V3-" + UID])
def test_nothing_else_is_a_uid(text: str) -> None:
    assert FORMAT.identify(text) is None
