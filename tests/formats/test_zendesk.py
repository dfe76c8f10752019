"""What Zendesk's job status says after which events, in both of its shapes."""

from datetime import datetime
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from jobstore.formats.contract import Failure
from jobstore.formats.zendesk import DOCUMENT, FORMAT, TODAY, fail, identify, location
from jobstore.job import events as e
from jobstore.job.decider import LEADS_TO
from jobstore.job.projection import Audience
from tests.formats.test_laws import NAMES
from tests.histories import BEGIN, UID, histories, place

ONCE = Audience("https://jobs.example", "acme", "2012")
TODAYS = Audience("https://jobs.example", "acme", "current")


def shown(recorded: list[e.Recorded], audience: Audience = ONCE) -> dict[str, Any]:
    view = FORMAT.projection.fold(recorded)
    job: dict[str, Any] = orjson.loads(FORMAT.projection.show(view, audience, BEGIN))
    if audience is TODAYS:
        assert list(job) == ["job_status"]
        job = job["job_status"]
    return job


def after(*events: e.Event, audience: Audience = ONCE, total: int | None = None) -> dict[str, Any]:
    """The job after these events."""
    return shown(place([e.JobQueued(uid=UID, kind="tickets.create_many", total=total), *events]), audience)


# -- Laws ---------------------------------------------------------------------------------------------------------


@given(histories)
def test_each_shape_keeps_to_its_own_schema(events: list[e.Event]) -> None:
    recorded = place(events)
    for end in range(1, len(recorded) + 1):
        for audience, schema in ((ONCE, DOCUMENT), (TODAYS, TODAY)):
            job = shown(recorded[:end], audience)
            Draft202012Validator(schema).validate(job)
            assert list(job) == list(schema["properties"]), "in the document's order"
            assert job["progress"] is None or job["total"] is None or job["progress"] <= job["total"]


@given(histories)
def test_the_shape_of_today_says_nothing_of_results_before_a_job_completed(events: list[e.Event]) -> None:
    recorded = place(events)
    for end in range(1, len(recorded) + 1):
        job = shown(recorded[:end], TODAYS)
        assert (job["results"] is not None) == (job["status"] == "completed")
        assert job["status"] != "queued" or job["progress"] is None


# -- Examples -----------------------------------------------------------------------------------------------------


def test_every_phase_has_its_word_in_each_shape() -> None:
    working = dict.fromkeys(get_args(e.Phase), "working")
    ended = {"cancelled": "killed", "completed": "completed", "failed": "failed"}
    for kind, phase in LEADS_TO.items():
        event: Any = kind
        events = [] if kind is e.JobQueued else [event()]
        assert after(*events)["status"] == (working | ended)[phase]
        assert after(*events, audience=TODAYS)["status"] == (working | ended | {"queued": "queued"})[phase]


@pytest.mark.parametrize(
    ("said", "total", "progress"),
    [
        ([], 4, None),
        ([e.JobStarting()], 4, None),
        ([e.JobStarted()], 4, None),
        ([e.JobStarting(fraction=0.5)], 4, 2),
        ([e.JobStarted(fraction=0.5)], 4, 2),
        ([e.JobStarted(fraction=0.5)], None, None),
        ([e.JobStarted(), e.ProgressReported(done=0)], 4, 0),
        ([e.JobStarted(), e.ProgressReported(done=3)], None, 3),
        ([e.JobStarted(), e.ProgressReported(fraction=0.99)], 4, 3),
        ([e.JobStarted(), e.ProgressReported(done=3), e.RetryScheduled()], 4, None),
        ([e.JobStarted(), e.ProgressReported(done=3), e.JobFailed()], 4, 3),
        ([e.JobStarted(), e.JobFailed(fraction=0.25)], 4, 1),
        ([e.JobStarted(), e.JobCancelled(fraction=0.25)], 4, 1),
        ([e.JobStarted(), e.ProgressReported(done=3), e.JobCompleted()], 4, 4),
        ([e.JobStarted(), e.ProgressReported(done=3), e.JobCompleted()], None, 3),
        ([e.JobStarted(), e.JobCompleted()], None, None),
        ([e.JobStarted(), e.JobCompleted()], 0, 0),
    ],
)
def test_progress_counts_the_tasks_done(said: list[e.Event], total: int | None, progress: int | None) -> None:
    for audience in (ONCE, TODAYS):
        job = after(*said, total=total, audience=audience)
        assert (job["progress"], job["total"]) == (progress, total)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], None),
        ([e.JobStarting(message="a")], "a"),
        ([e.JobStarting(message="a"), e.JobStarted()], "a"),
        ([e.JobStarted(message="a"), e.ProgressReported(message="b")], "b"),
        ([e.JobStarted(message="a"), e.ProgressReported(done=1)], "a"),
        ([e.JobStarted(message="a"), e.StopRequested(reason="not the worker's")], "a"),
        ([e.JobStarted(message="a"), e.JobStopping(message="b")], "b"),
        ([e.JobStarted(message="a"), e.JobCancelled()], "a"),
        ([e.JobStarted(), e.JobCancelled(reason="enough")], "enough"),
        ([e.JobCancelled()], None),
        ([e.JobStarted(message="a"), e.RetryScheduled()], None),
        ([e.JobStarted(message="a"), e.RetryScheduled(message="again")], "again"),
        ([e.JobFailed(message="a", error="b")], "a"),
        ([e.JobFailed(message="", error="b")], ""),
        ([e.JobFailed(error="b")], "b"),
        ([e.JobFailed(error={"code": 7})], None),
        ([e.JobFailed(error=["b"])], None),
        ([e.JobStarted(message="a"), e.JobFailed(error={"code": 7})], "a"),
        ([e.JobStarted(message="a"), e.JobFailed(error="b")], "b"),
        ([e.JobStarted(message="a"), e.JobCompleted(message="b")], "b"),
        ([e.JobStarted(), e.JobCompleted()], "Completed at Sat Jan 31 12:00:03 +0000 2026"),
        ([e.JobStarted(message="a"), e.JobCompleted()], "Completed at Sat Jan 31 12:00:03 +0000 2026"),
        ([e.JobCompleted(), e.Annotated(note="x"), e.JobRemoved()], "Completed at Sat Jan 31 12:00:02 +0000 2026"),
    ],
)
def test_the_message_is_the_workers_last(said: list[e.Event], message: str | None) -> None:
    assert after(*said)["message"] == message
    assert after(*said, audience=TODAYS)["message"] == message


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("2012-04-13T02:51:53+00:00", "Fri Apr 13 02:51:53 +0000 2012"),
        ("2024-02-29T23:59:59.999999+00:00", "Thu Feb 29 23:59:59 +0000 2024"),
        ("2026-01-05T00:00:00+00:00", "Mon Jan 05 00:00:00 +0000 2026"),
        ("2028-12-31T12:00:00+00:00", "Sun Dec 31 12:00:00 +0000 2028"),
    ],
)
def test_a_moment_is_told_as_the_document_does(at: str, said: str) -> None:
    events: list[e.Event] = [e.JobQueued(uid=UID, kind="x"), e.JobCompleted()]
    recorded = [e.Recorded(n, 1, n, datetime.fromisoformat(at), "a", event) for n, event in enumerate(events, 1)]
    assert shown(recorded)["message"] == f"Completed at {said}"


@pytest.mark.parametrize(
    ("verdict", "once", "today"),
    [
        (None, [1, {"id": 2}], [1, {"id": 2}]),
        ([], [], []),
        ([3], [3], [3]),
        ({"id": 3}, [{"id": 3}], {"id": 3}),
        ({}, [{}], {}),
        ("done", ["done"], ["done"]),
        (0, [0], [0]),
        (False, [False], [False]),
    ],
)
def test_results_are_what_completed_said_or_else_those_recorded(verdict: Any, once: Any, today: Any) -> None:
    said: list[e.Event] = [
        e.JobStarted(),
        e.ResultRecorded(result=0, key="a"),
        e.ResultRecorded(result={"id": 2}),
        e.ResultRecorded(result=1, key="a"),
        e.OutputProduced(output="not a result"),
    ]
    assert (after(*said)["results"], after(*said, audience=TODAYS)["results"]) == ([1, {"id": 2}], None)
    said.append(e.JobCompleted(results=verdict))
    assert (after(*said)["results"], after(*said, audience=TODAYS)["results"]) == (once, today)


def test_a_job_without_results_has_none() -> None:
    assert (after()["results"], after(audience=TODAYS)["results"]) == ([], None)
    done = (e.JobStarted(), e.JobCompleted())
    assert (after(*done)["results"], after(*done, audience=TODAYS)["results"]) == ([], [])


def test_an_id_is_read_in_either_shape() -> None:
    for text in (UID, UID.upper(), f"V3-{UID}", f"V3-{UID.upper()}", "018F3B6F-7815-7eaa-8000-000000000001"):
        assert identify(text) == UID
    for text in (
        UID[1:],
        UID + "0",
        f"V2-{UID}",
        f"V3-V3-{UID}",
        "V3-",
        f"{UID}.json",
        "g" * 32,
        f" {UID}",
        f"{UID}\n",
    ):
        assert identify(text) is None


def test_each_shape_has_its_address() -> None:
    for audience, id in ((ONCE, UID), (TODAYS, f"V3-{UID}")):
        address = f"https://jobs.example/api/v2/job_statuses/{id}.json"
        assert location(7, UID, audience) == address
        job = after(audience=audience)
        assert (job["id"], job["url"]) == (id, address)


def test_only_the_throttled_are_told_to_wait() -> None:
    for name in NAMES:
        reply = fail(Failure(name, "it went wrong", seconds=7))
        assert reply.headers.get("Retry-After") == ("7" if name == "throttled" else None)
        assert (reply.status == 429) == (name == "throttled")


def test_what_is_wrong_is_told_field_by_field() -> None:
    reply = fail(Failure("malformed", "wrong", fields={"ids": ["can't be blank"], "": ["is odd", "is old"]}))
    assert orjson.loads(reply.body) == {
        "error": "RecordInvalid",
        "description": "RecordValidation errors",
        "details": {
            "ids": [{"type": "blank", "description": "can't be blank"}],
            "base": [{"type": "invalid", "description": "is odd"}, {"type": "invalid", "description": "is old"}],
        },
    }
    assert orjson.loads(fail(Failure("malformed", "wrong")).body)["details"] == {
        "base": [{"type": "invalid", "description": "wrong"}]
    }
