"""Given two things that are measured in turn, when they are compared, then the line says the ratio of each round."""

import asyncio
from itertools import count

import pytest

from benchmarks.measure import Line, Report


def test_rounds_go_in_turn_and_the_first_one_does_not_count() -> None:
    report, order = Report(rounds=3), []
    ours, theirs = iter([1000.0, 2.0, 3.0, 4.0]), iter([1.0, 1.0, 2.0, 1.0])

    async def a() -> float:
        order.append("a")
        return next(ours)

    async def b() -> float:
        order.append("b")
        return next(theirs)

    line = asyncio.run(report.compare("stage", "ours", "theirs", a, b, unit="a second", goal=">= 2.5"))
    assert order == ["a", "b"] * 4
    assert (line.ratio, line.lowest, line.highest) == (2.0, 1.5, 4.0)
    assert (line.ours, line.theirs) == (3.0, 1.0)
    assert report.lines == [line]
    assert line.met is False


def test_a_ratio_is_that_of_its_round_whatever_the_machine_does_meanwhile() -> None:
    turns = count(1)

    async def measured() -> float:
        return float((next(turns) + 1) // 2)  # twice the same, then faster

    line = asyncio.run(Report(rounds=4).compare("stage", "ours", "theirs", measured, measured, unit="a second"))
    assert (line.lowest, line.ratio, line.highest) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("goal", "ratio", "ours", "met"),
    [
        (">= 0.9", 0.9, 5.0, True),
        (">= 0.9", 0.899, 5.0, False),
        ("<= 2.0", 2.0, 5.0, True),
        ("<= 2.0", 2.001, 5.0, False),
        (">= 100,000", None, 100_000.0, True),
        (">= 100,000", None, 99_999.0, False),
        ("<= 0", None, 0.0, True),
        ("", 0.1, 5.0, None),
        (">= 15", None, None, None),
    ],
)
def test_a_goal_is_of_the_ratio_or_else_of_the_figure(
    goal: str, ratio: float | None, ours: float | None, met: bool | None
) -> None:
    assert Line("stage", "what", ratio=ratio, ours=ours, goal=goal).met is met


def test_what_cannot_be_compared_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    report.lacks("feed", "readers", "nchan", FileNotFoundError("install nginx"))
    assert report.lines[0].figures() == "not measured: install nginx"
    assert report.lines[0].met is None
    assert "feed: readers / nchan" in (said := capsys.readouterr().out)
    assert "install nginx" in said
