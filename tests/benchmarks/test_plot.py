"""The picture is well-formed, has a line and a label for all that was measured, and says so when nothing was."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.growth import Place
from benchmarks.measure import Line
from benchmarks.plot import BOTTOM, LEFT, NEXT, RIGHT, TOP, apart, series, svg

SVG = "{http://www.w3.org/2000/svg}"


def grown(work: str, events: int, accounts: int, ratio: float | None, goal: str = "") -> Line:
    """A line as growth puts it in a report."""
    what = f"{work}, {Place('', events, accounts).name}"
    return Line("growth", what, "10 thousand", ratio, ratio, ratio, 9.0, 9.0, "events/s", goal)


MEASURED = [
    grown("append", 10_000_000, 1, 0.97, ">= 0.9"),
    grown("append", 1_000_000, 1, 1.02),
    grown("append", 10_000_000, 10_000, 0.93, ">= 0.9"),
    grown("append", 1_000_000, 10_000, 0.99),
    grown("feed resume", 10_000_000, 1, 1.1),
    Line("growth", "poll, job of 10,000 events", "of 10", 1.0, 1.0, 1.0, 9.0, 9.0, "us", "<= 1.2"),
    Line("growth", "verify, 10 million events in 1 account", ours=250_000.0, unit="events/s"),
]


def drawn(lines: list[Line]) -> ElementTree.Element:
    return ElementTree.fromstring(svg(lines))


def texts(picture: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def paths(picture: ElementTree.Element, kind: str) -> list[list[tuple[float, float]]]:
    """The points of every path of a class, in order."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path.attrib["d"])]
        for path in picture.iter(f"{SVG}path")
        if kind in path.attrib["class"].split()
    ]


def test_every_series_has_a_line_through_all_its_sizes_and_a_label_with_its_last_ratio() -> None:
    picture = drawn(MEASURED)

    assert sorted(map(len, paths(picture, "line"))) == [2, 3, 3]
    labels = {text for text in texts(picture) if "account" in text}
    assert labels == {"0.97 append, 1 account", "0.93 append, 10,000 accounts", "1.10 feed resume, 1 account"}


def test_lines_begin_at_one_and_a_larger_ratio_is_higher() -> None:
    lines = paths(drawn(MEASURED), "line")

    assert len({line[0] for line in lines}) == 1
    assert [line[0][0] for line in lines] == [LEFT] * 3
    assert [line[-1][0] for line in lines] == [RIGHT] * 3
    resume, append, dashed = (line[-1][1] for line in lines)
    assert TOP <= resume < lines[0][0][1] < append < dashed <= BOTTOM


def test_sizes_are_on_a_logarithmic_scale_whatever_their_order() -> None:
    (million,) = {line[1][0] for line in paths(drawn(MEASURED), "line") if len(line) == 3}

    assert million == pytest.approx(LEFT + (RIGHT - LEFT) * 2 / 3, abs=0.1)
    assert series(MEASURED)[0].points == [(10_000, 1.0), (1_000_000, 1.02), (10_000_000, 0.97)]
    assert {"10 thousand", "1 million", "10 million"} <= set(texts(drawn(MEASURED)))


def test_many_accounts_are_dashed() -> None:
    picture = drawn(MEASURED)

    assert len(paths(picture, "many")) == 1
    assert paths(picture, "many")[0] in paths(picture, "line")


def test_a_kind_of_work_has_one_colour() -> None:
    groups = [(group.attrib["class"], "".join(group.itertext()).strip()) for group in drawn(MEASURED).iter(f"{SVG}g")]

    colours = {text[5:].partition(",")[0]: colour for colour, text in groups}
    assert all(colours[text[5:].partition(",")[0]] == colour for colour, text in groups)
    assert len(set(colours.values())) == 2


def test_only_the_goals_of_what_is_drawn_are_drawn() -> None:
    assert [text for text in texts(drawn(MEASURED)) if text.startswith("goal")] == ["goal 0.9"]
    assert paths(drawn(MEASURED), "goal")


def test_text_is_escaped() -> None:
    line = grown("a < b & </text>", 10_000_000, 1, 1.0)

    assert "1.00 a < b & </text>, 1 account" in texts(drawn([line]))


@pytest.mark.parametrize("lines", [[], MEASURED[-2:], [grown("append", 10_000_000, 1, None)]])
def test_where_nothing_was_measured_it_says_so(lines: list[Line]) -> None:
    picture = drawn(lines)

    assert "No growth was measured" in texts(picture)
    assert not list(picture.iter(f"{SVG}path"))


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=4))
def test_whatever_the_ratios_all_is_drawn_within_the_frame(ratios: list[float]) -> None:
    lines = [grown(f"work {index}", 10_000_000, 1, ratio) for index, ratio in enumerate(ratios)]

    for kind in ("line", "leader"):
        found = paths(drawn(lines), kind)
        assert len(found) == len(ratios)
        assert all(TOP <= y <= BOTTOM for line in found for _, y in line)


@given(st.lists(st.floats(TOP, BOTTOM), max_size=8))
def test_labels_keep_their_distance_and_those_that_are_apart_stay(places: list[float]) -> None:
    places.sort()
    moved = apart(places)

    assert all(below - above >= NEXT - 1e-6 for above, below in pairwise(moved))
    assert all(TOP - 1e-6 <= place <= BOTTOM + 1e-6 for place in moved)
    if all(below - above >= NEXT for above, below in pairwise(places)):
        assert moved == pytest.approx(places)
