"""What Xplenty's view makes of what happened; no server is needed to see that."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given

from jobstore.formats.contract import Asked, Failure, Quota
from jobstore.formats.xplenty import FORMAT, STATUSES, UNLIMITED, Job, limits, preview, run
from jobstore.job import events as e
from jobstore.job.projection import Audience
from tests.histories import BEGIN, UID, histories, place

TO = Audience("https://api.xplenty.com", "acme")
QUEUED = e.JobQueued(uid=UID, kind="a")
STARTED = e.JobStarted()


def folded(*events: e.Event) -> Job:
    return FORMAT.projection.fold(place(list(events)))


def shown(*events: e.Event, seconds: float = 0.0) -> dict[str, Any]:
    """The job after its submission and these events, so many seconds after BEGIN."""
    view = folded(QUEUED, *events)
    body: dict[str, Any] = orjson.loads(FORMAT.projection.show(view, TO, BEGIN + timedelta(seconds=seconds)))
    return body


def produced(*outputs: Any) -> list[Any]:
    """The targets of a job that produced these outputs."""
    found: list[Any] = shown(STARTED, *(e.OutputProduced(output=output) for output in outputs))["outputs"]
    return found


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([], "idle"),
        ([e.JobStarting()], "pending"),
        ([STARTED], "running"),
        ([e.StopRequested()], "pending_stoppage"),
        ([STARTED, e.StopRequested(), e.JobStopping()], "stopping"),
        ([e.JobCancelled()], "stopped"),
        ([STARTED, e.JobCompleted()], "completed"),
        ([e.JobFailed()], "failed"),
        ([STARTED, e.RetryScheduled()], "idle"),
    ],
)
def test_there_are_eight_words_for_a_status(events: list[e.Event], status: str) -> None:
    assert shown(*events)["status"] == status
    assert len(set(STATUSES.values())) == 8


@pytest.mark.parametrize(
    ("events", "progress"),
    [
        ([], "0"),
        ([STARTED], "0"),
        ([e.JobStarted(fraction=0.1)], "0.1"),
        ([STARTED, e.ProgressReported(fraction=0.25)], "0.25"),
        ([STARTED, e.ProgressReported(done=3, total=4)], "0.75"),
        ([STARTED, e.ProgressReported(fraction=1.0)], "1"),
        ([STARTED, e.ProgressReported(fraction=0.5), e.RetryScheduled()], "0"),
        ([STARTED, e.ProgressReported(fraction=0.5), e.JobFailed()], "0.5"),
        ([STARTED, e.ProgressReported(fraction=0.5), e.JobCancelled(fraction=0.6)], "0.6"),
        ([STARTED, e.ProgressReported(fraction=0.5), e.JobCompleted()], "1"),
    ],
)
def test_progress_is_from_0_to_1_and_whole_numbers_are_whole(events: list[e.Event], progress: str) -> None:
    body = FORMAT.projection.show(folded(QUEUED, *events), TO, BEGIN)
    assert f'"progress":{progress},'.encode() in body


def test_a_job_runs_on_until_it_ends() -> None:
    retry, end = e.RetryScheduled(), e.JobCancelled()
    assert shown(seconds=50)["runtime_in_seconds"] == 0
    assert shown(e.JobStarting(), seconds=50)["runtime_in_seconds"] == 0
    assert shown(STARTED, seconds=50)["runtime_in_seconds"] == 48
    assert shown(STARTED, seconds=50.9)["runtime_in_seconds"] == 48
    assert shown(STARTED, e.StopRequested(), e.JobStopping(), seconds=50)["runtime_in_seconds"] == 48
    assert shown(STARTED, e.ProgressReported(done=1), end, e.Annotated(), seconds=50)["runtime_in_seconds"] == 2
    assert shown(STARTED, retry, seconds=50)["runtime_in_seconds"] == 0
    assert shown(STARTED, retry, STARTED, seconds=50)["runtime_in_seconds"] == 46
    assert shown(end, seconds=50)["runtime_in_seconds"] == 0
    assert shown(STARTED, seconds=-5)["runtime_in_seconds"] == 0, "on a node whose clock is behind"


@given(histories)
def test_only_a_view_that_runs_changes_with_the_time(events: list[e.Event]) -> None:
    view = FORMAT.projection.fold(place(events))
    later = (BEGIN + timedelta(seconds=seconds) for seconds in (100, 200))
    now, then = (FORMAT.projection.show(view, TO, at) for at in later)
    assert (now != then) == FORMAT.projection.runs(view)


def test_times_say_when_a_job_was_made_began_was_heard_of_and_ended() -> None:
    ends: list[e.Event] = [e.JobCompleted(), e.JobFailed(), e.JobCancelled()]
    for end in ends:
        job = shown(STARTED, end, e.Annotated())
        assert job["created_at"] == "2026-01-31T12:00:01Z"
        assert job["started_at"] == "2026-01-31T12:00:02Z"
        assert job["completed_at"] == "2026-01-31T12:00:03Z"
        assert job["updated_at"] == "2026-01-31T12:00:04Z"
        assert job["failed_at"] == ("2026-01-31T12:00:03Z" if isinstance(end, e.JobFailed) else None)


@pytest.mark.parametrize(
    ("events", "errors"),
    [
        ([e.JobFailed()], ""),
        ([e.JobFailed(error="broken")], "broken"),
        ([e.JobFailed(error="broken", message="sorry")], "broken"),
        ([e.JobFailed(error=[], message="sorry")], "sorry"),
        ([e.JobFailed(error=["a", {"line": 3, "why": ["b", None]}])], "a\nline: 3\nwhy: b\n"),
        ([e.JobFailed(error=False)], "false"),
        ([STARTED, e.RetryScheduled(error="first"), e.JobFailed(error="second")], "first\nsecond"),
        ([STARTED, e.JobCompleted(results={"errors": 3}, message="done")], ""),
        ([e.JobCancelled(reason="not needed")], ""),
    ],
)
def test_errors_are_a_text(events: list[e.Event], errors: str) -> None:
    assert shown(*events)["errors"] == errors


@pytest.mark.parametrize(
    ("args", "user", "told"),
    [
        ({"cluster_id": 52, "package_id": 434, "variables": {"a": 1}}, "7", (52, 434, {"a": 1}, 7)),
        ({}, None, (None, None, {}, None)),
        ({"cluster_id": "52", "package_id": 4.5, "variables": [1]}, "anne", (None, None, {}, None)),
        ({"cluster_id": True, "package_id": None, "variables": None}, "007", (None, None, {}, None)),
    ],
)
def test_what_a_job_does_not_have_is_the_vendors_nothing(args: dict[str, Any], user: str | None, told: Any) -> None:
    view = FORMAT.projection.fold(place([e.JobQueued(uid=UID, kind="a", args=args, user=user)]))
    job = orjson.loads(FORMAT.projection.show(view, TO, BEGIN))
    assert (job["cluster_id"], job["package_id"], job["variables"], job["owner_id"]) == told


def test_an_output_says_of_itself_what_it_can() -> None:
    at = "2026-01-31T12:00:03Z"
    url = "https://api.xplenty.com/acme/api/jobs/7/outputs/1"
    nothing = {
        "component_name": None, "created_at": at, "id": 1, "name": None, "preview_url": f"{url}/preview",
        "records_count": None, "updated_at": at, "url": url,
    }  # fmt: skip
    for output in ("s3://bucket", None, 3, ["a"], {}, {"name": 3, "records_count": "many", "created_at": "soon"}):
        assert produced(output) == [nothing]
    named = {"name": "n", "component_name": "c", "records_count": 0, "created_at": "2026-01-01T02:00:00+02:00"}
    assert produced(named) == [nothing | named | {"created_at": "2026-01-01T00:00:00Z"}]
    assert produced({"created_at": "0001-01-01"})[0]["created_at"] == "0001-01-01T00:00:00Z"
    assert produced({"created_at": "0001-01-01T00:00:00+02:00"})[0]["created_at"] == at


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ([None, None], [1, 2]),
        ([521, 522, None], [521, 522, 3]),
        ([2, None], [2, 3]),
        ([5, 5, 5], [5, 6, 7]),
        ([9, 8, 8], [9, 8, 10]),
        ([0, -1, "x", True, 1.5, 2**60], [1, 2, 3, 4, 5, 6]),
        ([2**53, 2**53, None], [2**53, 2**53 + 1, 3]),
    ],
)
def test_no_two_outputs_have_one_id(given: list[Any], ids: list[int]) -> None:
    assert [output["id"] for output in produced(*({"id": id} for id in given))] == ids


def test_news_of_an_output_keep_its_id_and_its_beginning() -> None:
    first = e.OutputProduced(output={"id": 9, "records_count": 1}, key="a")
    other = e.OutputProduced(output={"id": 4}, key="b")
    again = e.OutputProduced(output={"id": 4, "records_count": 2}, key="a")
    job = shown(STARTED, first, other, again)
    assert [(output["id"], output["records_count"]) for output in job["outputs"]] == [(9, 2), (4, None)]
    assert job["outputs_count"] == 2
    assert job["outputs"][0]["created_at"] == "2026-01-31T12:00:03Z"
    assert job["outputs"][0]["updated_at"] == "2026-01-31T12:00:05Z"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (None, ""),
        ("", ""),
        ("a\tb\nc\n", "a\tb\nc\n"),
        (["a", 1, None], "a\n1\n"),
        ("x\n" * 500, "\n".join(["x"] * 100)),
        (["x\ny"] * 500, "\n".join(["x\ny"] * 50)),
    ],
)
def test_a_preview_is_the_first_hundred_lines(said: Any, text: str) -> None:
    view = folded(QUEUED, STARTED, e.OutputProduced(output={"preview": said}))
    body = orjson.loads(preview(view, Asked(path={"output": "1"}), TO, BEGIN).body)
    assert body == {"preview": text, "url": "https://api.xplenty.com/acme/api/jobs/7/outputs/1/preview"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "cluster_id: is missing"),
        ([1], "cluster_id: is missing"),
        ({"job": [1]}, "job: must be an object"),
        ({"job": {"package_id": 1}, "cluster_id": 1}, "cluster_id: is missing"),
        ({"cluster_id": 1}, "package_id: is missing"),
        ({"cluster_id": 1, "package_id": "seven"}, "package_id: must be a whole number above 0"),
        ({"cluster_id": 0, "package_id": 1}, "cluster_id: must be a whole number above 0"),
        ({"cluster_id": 1.0, "package_id": 1}, "cluster_id: must be a whole number above 0"),
        ({"cluster_id": True, "package_id": 1}, "cluster_id: must be a whole number above 0"),
        ({"cluster_id": {}, "package_id": 1}, "cluster_id: must be a whole number above 0"),
        ({"cluster_id": "", "package_id": 1}, "cluster_id: must be a whole number above 0"),
        ({"cluster_id": 1, "package_id": 1, "variables": []}, "variables: must be an object of names and values"),
        ({"cluster_id": 1, "package_id": 1, "variables": "a"}, "variables: must be an object of names and values"),
        (
            {"cluster_id": 1, "package_id": 1, "dynamic_variables": 1},
            "dynamic_variables: must be an object of names and values",
        ),
    ],
)
def test_a_run_that_says_too_little_is_refused_by_the_field(body: Any, message: str) -> None:
    with pytest.raises(Failure, match=rf"^{message}$") as refused:
        run(Asked(body=body), TO)
    assert refused.value.name == "malformed"
    assert list(refused.value.fields) == [message.partition(":")[0]]


def test_who_has_no_limit_is_told_a_number_too() -> None:
    assert limits(None) == {"X-RateLimit-Limit": str(UNLIMITED), "X-RateLimit-Remaining": str(UNLIMITED)}
    assert limits(Quota(5000, 4999, 60)) == {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}
