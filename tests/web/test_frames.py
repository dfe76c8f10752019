"""Given anything at all to say, when it is framed, then a client reads what was said and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstore.web import frames
from tests.web.eventstream import Event, Parser, parse

# The examples of the specification, 9.2.6, by which the tests' own parser is checked.
EXAMPLES: list[tuple[bytes, list[Event]]] = [
    (
        b"data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\n"
        b"data: This is the third message.\n\n",
        [
            Event("message", "This is the first message.", ""),
            Event("message", "This is the second message, it\nhas two lines.", ""),
            Event("message", "This is the third message.", ""),
        ],
    ),
    (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [Event("add", "73857293", ""), Event("remove", "2153", ""), Event("add", "113411", "")],
    ),
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("message", "YHOO\n+2\n10", "")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        [Event("message", "first event", "1"), Event("message", "second event", "")],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [Event("message", "", ""), Event("message", "\n", "")]),
    (b"data:test\n\ndata: test\n\n", [Event("message", "test", ""), Event("message", "test", "")]),
    (b"\xef\xbb\xbfdata: x\r\n\r\ndata: y\r\rdata: z\n\n", [Event("message", text, "") for text in "xyz"]),
]


@pytest.mark.parametrize(("stream", "events"), EXAMPLES)
def test_the_parser_reads_the_examples_of_the_specification(stream: bytes, events: list[Event]) -> None:
    assert parse(stream) == events
    parser = Parser()
    assert [event for byte in stream for event in parser.feed(bytes((byte,)))] == events


def test_a_frame_is_as_the_interface_shows_it() -> None:
    assert frames.frame(1042, "progressed", b'{"a":1}') == b'id: 1042\nevent: progressed\ndata: {"a":1}\n\n'


broken = st.text(st.sampled_from("\r\n\0: idataevent73\ufeff") | st.characters(codec="utf-8"))


@given(st.lists(st.tuples(st.integers(0, 2**63), broken, broken), min_size=1))
def test_no_field_can_end_its_frame_or_begin_another(said: list[tuple[int, str, str]]) -> None:
    stream = b"".join(frames.frame(id, event, data.encode()) for id, event, data in said)
    assert parse(stream) == [
        Event(re.sub("[\r\n\0]", " ", event) or "message", re.sub("\r\n|\r", "\n", data), str(id))
        for id, event, data in said
    ]


@given(broken)
def test_a_comment_is_nothing_but_a_comment(text: str) -> None:
    parser = Parser()
    assert parser.feed(frames.frame(7, "a", b"b") + frames.comment(text) + frames.frame(8, "c", b"d")) == [
        Event("a", "b", "7"),
        Event("c", "d", "8"),
    ]
    assert parser.comments


def test_a_mark_moves_a_client_on_without_an_event() -> None:
    parser = Parser()
    assert parser.feed(frames.retry(2000) + frames.mark(41)) == []
    assert (parser.last_event_id, parser.retry) == ("41", 2000)


def test_the_end_and_a_gap_say_where_to_go_on() -> None:
    assert parse(frames.end(9)) == [Event("end", '{"position":9}', "9")]
    assert parse(frames.gap(3, 8)) == [Event("gap", '{"from":3,"to":8}', "8")]


@given(st.binary(min_size=1))
def test_a_chunk_has_its_length_before_it(data: bytes) -> None:
    length, _, rest = frames.chunk(data).partition(b"\r\n")
    assert int(length, 16) == len(data)
    assert rest == data + b"\r\n"
