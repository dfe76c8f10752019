"""Whatever was erased of a history, every format shows what remains as its schema says, and none of what has gone."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from jobstore.formats import native
from jobstore.formats.contract import Format
from jobstore.job import codec
from jobstore.job import events as e
from jobstore.job.decider import INITIAL, evolve
from jobstore.job.erasure import FIELDS, remains
from tests.formats.test_laws import SHAPES, audience
from tests.histories import histories, place

fields = st.frozensets(st.sampled_from(sorted(FIELDS)), max_size=4)


def erased(events: list[e.Event], fields: frozenset[str]) -> list[e.Event]:
    """The events as they are read after an erasure, which is the last of them."""
    kept = [
        codec.decode(codec.name(event), remains(codec.name(event), codec.encode(event), fields)) for event in events
    ]
    return [*kept, e.JobErased(reason="asked", fields=tuple(sorted(fields)))]


@pytest.mark.parametrize(("format", "revision"), SHAPES)
def test_what_remains_is_shown_as_the_schema_says(format: Format[Any], revision: str) -> None:
    validator = Draft202012Validator(format.schema, format_checker=Draft202012Validator.FORMAT_CHECKER)

    @given(histories, fields)
    def law(events: list[e.Event], fields: frozenset[str]) -> None:
        view = format.projection.fold(())
        for recorded in place(erased(events, fields)):
            view = format.projection.fold((recorded,), view)
            validator.validate(orjson.loads(format.projection.show(view, audience(revision), recorded.at)))

    law()


@given(histories, fields)
def test_where_a_job_is_in_its_life_is_never_erased(events: list[e.Event], fields: frozenset[str]) -> None:
    before = after = INITIAL
    for event, kept in zip(events, erased(events, fields), strict=False):
        before, after = evolve(before, event), evolve(after, kept)
        assert (before.phase, before.removed) == (after.phase, after.removed)


@given(histories)
def test_without_names_all_goes_but_the_uid_and_the_kind(events: list[e.Event]) -> None:
    queued, *others = erased(events, frozenset())[:-1]
    first = events[0]
    assert isinstance(first, e.JobQueued)
    assert queued == e.JobQueued(uid=first.uid, kind=first.kind)
    assert all(remains(codec.name(event), codec.encode(event), ()) == "{}" for event in events[1:])
    view = native.PROJECTION.fold(place([queued, *others]))
    said = (view.args, view.user, view.extra, view.stage, view.message, view.errors, view.verdict)
    assert said == ({}, None, {}, None, None, [], None)
    assert all(item is None for item in (*view.outputs.all, *view.results.all))


@given(histories, fields, fields)
def test_what_remains_stays_as_it_was_written_whatever_goes_first(
    events: list[e.Event], first: frozenset[str], second: frozenset[str]
) -> None:
    for event in events:
        name, data = codec.name(event), codec.encode(event)
        if first and second:
            both = remains(name, data, first | second)
            assert remains(name, remains(name, data, first), second) == both
        members = orjson.loads(data)
        kept = orjson.loads(remains(name, data, first))
        assert kept.items() <= members.items() if first else set(kept) <= {"uid", "kind"}
        assert not first & kept.keys()
        assert remains(name, data, frozenset({"no such field"})) == data


def test_what_says_that_something_was_erased_stays() -> None:
    data = codec.encode(e.JobErased(reason="asked", fields=("args",)))
    assert remains("erased", data, ()) == remains("erased", data, ("fields", "reason")) == data


def test_null_that_was_said_is_written_down_and_what_was_erased_is_not() -> None:
    for event in (e.OutputProduced(output=None), e.ResultRecorded(result=None)):
        [field] = orjson.loads(codec.encode(event))
        assert codec.decode(codec.name(event), "{}") == event
        assert codec.encode(event) == f'{{"{field}":null}}'
