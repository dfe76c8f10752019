"""An event stream is read as its specification says, in whatever pieces it comes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobstore.cli.eventstream import Event, Parser
from tests.web.eventstream import Parser as Independent

EXAMPLES = [  # WHATWG HTML, 9.2.6
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", b"YHOO\n+2\n10", "")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [("message", b"first event", "1"), ("message", b"second event", ""), ("message", b" third event", "")],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [("message", b"", ""), ("message", b"\n", "")]),
    (b"data:test\n\ndata: test\n\n", [("message", b"test", "")] * 2),
    (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        [("add", b"73857293", ""), ("remove", b"2153", "")],
    ),
]

STREAMS = st.lists(
    st.sampled_from([b"data", b"id", b"event", b"retry", b":", b": ", b" ", b"x", b"12", b"\0", b"\n", b"\r", b"\r\n",
                     b"\n\n", "é".encode(), b"\xff", b"\xef\xbb\xbf"])
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize(("stream", "events"), EXAMPLES)
def test_the_examples_of_the_specification(stream: bytes, events: list[Event]) -> None:
    assert Parser().feed(stream) == [Event(*event) for event in events]


@given(STREAMS, st.lists(st.integers(0, 60)))
def test_pieces_make_no_difference_and_another_reader_agrees(stream: bytes, cuts: list[int]) -> None:
    parser, other = Parser(), Independent()
    places = sorted({0, *cuts, len(stream)})
    events = [event for start, end in pairwise(places) for event in parser.feed(stream[start:end])]
    expected = [(event.type, event.data, event.id) for event in other.feed(stream)]
    assert [(event.type, event.data.decode(errors="replace"), event.id) for event in events] == expected
    assert (parser.last_event_id, parser.retry) == (other.last_event_id, other.retry)


def test_who_comes_back_knows_where_it_was_even_before_it_hears_anything() -> None:
    parser = Parser("7")
    assert parser.feed(b"retry: 2000\n\n") == []
    assert (parser.last_event_id, parser.retry) == ("7", 2000)
    parser.feed(b"id: 9\n\nid: 10\n")
    assert parser.last_event_id == "9"
