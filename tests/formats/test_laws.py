"""Laws of every format: over every history that can happen, in every wire shape, now and at every moment before."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from jobstore.formats import FORMATS
from jobstore.formats.contract import Failure, Format
from jobstore.job import events as e
from jobstore.job.projection import Audience
from tests.histories import BEGIN, UID, histories, place

SHAPES = [
    pytest.param(format, revision, id=f"{format.name} {revision}".strip())
    for format in FORMATS.values()
    for revision in format.revisions
]
NAMES = (
    "bad-request", "unauthorized", "forbidden", "not-found", "method-not-allowed", "timeout", "refused", "taken",
    "version-differs", "too-large", "unsupported-media-type", "malformed", "throttled", "unavailable", "internal",
)  # fmt: skip


def audience(revision: str) -> Audience:
    return Audience("https://jobs.example", "acme", revision)


@pytest.mark.parametrize(("format", "revision"), SHAPES)
def test_every_history_is_shown_at_every_moment_as_the_schema_says(format: Format[Any], revision: str) -> None:
    validator = Draft202012Validator(format.schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    Draft202012Validator.check_schema(format.schema)

    @given(histories)
    def law(events: list[e.Event]) -> None:
        view = format.projection.fold(())
        for recorded in place(events):
            view = format.projection.fold((recorded,), view)
            body = format.projection.show(view, audience(revision), recorded.at)
            shown = orjson.loads(body)
            validator.validate(shown)
            again = format.projection.show(view, audience(revision), recorded.at)
            assert again == body, "showing a view changes nothing"

    law()


@pytest.mark.parametrize(("format", "revision"), SHAPES)
def test_a_view_is_the_same_folded_at_once_in_two_steps_or_from_a_memo(format: Format[Any], revision: str) -> None:
    projection, to, at = format.projection, audience(revision), BEGIN + timedelta(days=1)

    @given(histories)
    def law(events: list[e.Event]) -> None:
        recorded = place(events)
        whole = projection.show(projection.fold(recorded), to, at)
        for cut in range(len(recorded) + 1):
            memo = projection.freeze(projection.fold(recorded[:cut]))
            assert projection.show(projection.fold(recorded[cut:], projection.thaw(memo)), to, at) == whole

    law()


@pytest.mark.parametrize(("format", "revision"), SHAPES)
def test_every_failure_has_an_answer_that_the_schema_knows(format: Format[Any], revision: str) -> None:
    validator = Draft202012Validator(format.failure)
    Draft202012Validator.check_schema(format.failure)
    for name in NAMES:
        for fields in ({}, {"": ["is wrong"]}, {"stage": ["is missing", "is wrong"]}):
            reply = format.fail(Failure(name, "it went wrong", fields=fields, seconds=7, allow="GET"))
            assert 400 <= reply.status < 600
            validator.validate(orjson.loads(reply.body))
            assert "Location" not in reply.headers


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_the_address_of_a_job_names_that_job(format: Format[Any]) -> None:
    uid = "0192f3a4b5c67d8e9f00112233445566"
    for number in (1, 2, 41, 10_000, 2**40):
        address = format.location(number, uid, audience(format.revisions[0]))
        assert address.startswith("https://jobs.example/")
        text = address.rsplit("/", 1)[1].removesuffix(".json")
        assert format.identify(text) in (number, uid)
    for text in ("", "0", "-1", "1.5", "x" * 100, "ü", "../1", "1 ", "٣"):
        assert format.identify(text) is None, text


def progress_in(shown: Any) -> float | None:
    """How far a shown job says that it is: by itself, inside a wrapping object, or in the last of its records."""
    if "progress" in shown:
        progress: float | None = shown["progress"]
        return progress
    for inner in shown.values():
        if isinstance(inner, list) and inner and isinstance(inner[-1], dict):
            inner = inner[-1]
        if isinstance(inner, dict) and "progress" in inner:
            return progress_in(inner)
    return None


fractions = st.lists(st.floats(0, 1), max_size=12).map(
    lambda steps: [e.ProgressReported(fraction=step) for step in sorted(steps)]
)
counts = st.tuples(st.integers(1, 1000), st.lists(st.integers(0, 1000), max_size=12)).map(
    lambda told: [e.ProgressReported(done=min(done, told[0]), total=told[0]) for done in sorted(told[1])]
)
ends = st.sampled_from([[], [e.JobCompleted()], [e.JobFailed()], [e.StopRequested(), e.JobCancelled()]])


@pytest.mark.parametrize(("format", "revision"), SHAPES)
def test_progress_that_only_grows_only_grows_in_the_vendors_scale(format: Format[Any], revision: str) -> None:
    @given(fractions | counts, ends)
    def law(steps: list[e.Event], end: list[e.Event]) -> None:
        view = format.projection.fold(())
        before = 0.0
        for recorded in place([e.JobQueued(uid=UID, kind="a"), e.JobStarted(), *steps, *end]):
            view = format.projection.fold((recorded,), view)
            now = progress_in(orjson.loads(format.projection.show(view, audience(revision), recorded.at)))
            if now is not None:
                assert now >= before
                before = now

    law()
