"""Laws of the core, over histories that can happen."""

from hypothesis import given
from hypothesis import strategies as st

from jobstore.job import codec
from jobstore.job import commands as c
from jobstore.job.decider import INITIAL, TERMINAL, Refused, decide, evolve
from jobstore.job.events import Annotated, Event, JobRemoved
from tests.histories import commands, histories, lived, report

UNKEYED = (c.ProduceOutput, c.RecordResult)


@given(commands, report)
def test_a_repeated_command_adds_nothing(said: list[c.Command], command: c.Report) -> None:
    state, _ = lived(said)
    try:
        events = decide(state, command)
    except Refused:
        return
    for event in events:
        state = evolve(state, event)
    if isinstance(command, UNKEYED) and command.key is None:
        assert len(decide(state, command)) == 1, "without a key each one is one more"
    else:
        assert decide(state, command) == ()


@given(commands, st.lists(report, max_size=10))
def test_terminal_stays_terminal(said: list[c.Command], more: list[c.Report]) -> None:
    state, events = lived([*said, c.Fail(error="the end")])
    assert state.phase in TERMINAL
    after, later = lived([*said, c.Fail(error="the end"), *more])
    assert after.phase == state.phase
    assert all(isinstance(event, Annotated | JobRemoved) for event in later[len(events) :])


@given(commands, report)
def test_a_refusal_has_a_reason(said: list[c.Command], command: c.Report) -> None:
    state, _ = lived(said)
    try:
        decide(state, command)
    except Refused as refusal:
        reason = str(refusal)
    else:
        return
    assert reason.startswith(("the job ", "done ("))


@given(histories)
def test_the_codec_gives_back_what_was_written(events: list[Event]) -> None:
    for event in events:
        assert codec.decode(codec.name(event), codec.encode(event)) == event


@given(histories, st.data())
def test_a_fold_in_two_steps_is_a_fold_in_one(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    whole = half = INITIAL
    for event in events:
        whole = evolve(whole, event)
    for event in events[:cut]:
        half = evolve(half, event)
    for event in events[cut:]:
        half = evolve(half, event)
    assert half == whole


@given(histories)
def test_a_possible_history_begins_with_its_submission_and_has_one(events: list[Event]) -> None:
    assert [codec.name(event) for event in events].count("queued") == 1
    assert codec.name(events[0]) == "queued"
