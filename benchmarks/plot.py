"""Knows how to draw what growth found, as SVG: a line a kind of work; must not know how it was measured.

The picture brings its own background, light or dark as the reader prefers, and needs no font of its own.
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from statistics import fmean
from typing import Final, NamedTuple

from benchmarks.growth import size
from benchmarks.measure import Line

WIDTH: Final = 760
HEIGHT: Final = 360
LEFT, RIGHT, TOP, BOTTOM = 56, 500, 72, 312  # of the frame that the lines are in
LABELS: Final = 528
NEXT: Final = 18.0  # from one label down to the next
STEP: Final = 0.25  # from one rule up to the next

_SIZE: Final = re.compile(r"\d+ (?:thousand|million)")
_WORK: Final = re.compile(rf"(?P<work>.+), (?P<size>{_SIZE.pattern}) events in (?P<accounts>[\d,]+) accounts?")
_UNITS: Final = {"thousand": 1_000, "million": 1_000_000}
_LIGHT: Final = ("#0969da", "#1a7f37", "#8250df", "#bc4c00")
_DARK: Final = ("#6cb6ff", "#57ab5a", "#b083f0", "#f0883e")
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #57606a }
.title { font-size: 15px; font-weight: 600; fill: #1f2328 }
.paper { fill: #ffffff; stroke: #d8dee4 }
.rule { stroke: #eaeef2 }
.one { stroke: #8c959f }
.begin { fill: #57606a }
.goal { stroke: #8c959f; stroke-dasharray: 1 4; stroke-linecap: round }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.many { stroke-dasharray: 5 5 }
.leader { fill: none; stroke: currentColor; opacity: 0.35 }
.point { fill: currentColor }
.said { fill: currentColor }
.figure { font-weight: 600; font-variant-numeric: tabular-nums }
"""
_AT_NIGHT: Final = """
text { fill: #9198a1 }
.title { fill: #f0f6fc }
.paper { fill: #0d1117; stroke: #30363d }
.rule { stroke: #21262d }
.one, .goal { stroke: #656c76 }
.begin { fill: #9198a1 }
"""


class Series(NamedTuple):
    """A kind of work in so many accounts: its ratio at each size, the smallest first."""

    work: str
    accounts: int
    points: list[tuple[int, float]]


def svg(lines: Sequence[Line]) -> str:
    """The picture; where no growth was measured, one that says so."""
    drawn = series(lines)
    if not drawn:
        return _picture("No growth was measured", "", [])
    sizes = sorted({events for each in drawn for events, _ in each.points})
    works = list(dict.fromkeys(each.work for each in drawn))
    goals = {float(line.goal.split()[1]) for line in lines if line.goal and _WORK.fullmatch(line.what)}
    ratios = [*goals, *(ratio for each in drawn for _, ratio in each.points)]
    low, high = math.floor(min(*ratios, 0.5) / STEP), math.ceil(max(*ratios, 1.25) / STEP)  # in steps

    def across(events: int) -> float:
        return LEFT + (RIGHT - LEFT) * math.log(events / sizes[0]) / math.log(sizes[-1] / sizes[0])

    def up(ratio: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (ratio / STEP - low) / (high - low)

    parts = [_rule(step * STEP, up(step * STEP)) for step in range(low, high + 1)]
    parts += [_goal(goal, up(goal)) for goal in goals]
    for events, anchor in zip(sizes, ["start", *["middle"] * (len(sizes) - 1)], strict=True):
        parts.append(_text(across(events), BOTTOM + 26, size(events), anchor=anchor))
    drawn.sort(key=lambda each: up(each.points[-1][1]))
    for each, place in zip(drawn, apart([up(each.points[-1][1]) for each in drawn]), strict=True):
        points = [(across(events), up(ratio)) for events, ratio in each.points]
        parts += _line(each, works.index(each.work) % len(_LIGHT), points, place)
    parts.append(f'<circle class="begin" cx="{LEFT}" cy="{up(1):.1f}" r="3.5"/>')
    remark = f"rates at so many events, as a ratio to those at {size(sizes[0])}"
    return _picture("How fast, as the store grows", remark, parts)


def series(lines: Iterable[Line]) -> list[Series]:
    """What the lines say of growth. At the size that the others are compared with, the ratio is 1."""
    found: dict[tuple[str, int], dict[int, float]] = {}
    for line in lines:
        work, base = _WORK.fullmatch(line.what), _SIZE.fullmatch(line.against)
        if work is not None and base is not None and line.ratio is not None:
            name, accounts = work["work"], int(work["accounts"].replace(",", ""))
            points = found.setdefault((name, accounts), {_events(base[0]): 1.0})
            points[_events(work["size"])] = line.ratio
    return [Series(*of, sorted(points.items())) for of, points in found.items()]


def apart(places: Sequence[float]) -> list[float]:
    """Where labels go that belong at `places`, in order: far enough apart, and moved as little as may be."""
    groups: list[list[float]] = []  # labels that touch, each by where the group's first one would be
    for index, place in enumerate(places):
        groups.append([place - index * NEXT])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    lowest = BOTTOM - (len(places) - 1) * NEXT
    firsts = [min(max(fmean(group), TOP), lowest) for group in groups for _ in group]
    return [first + index * NEXT for index, first in enumerate(firsts)]


def _events(words: str) -> int:
    number, unit = words.split()
    return int(number) * _UNITS[unit]


def _line(each: Series, colour: int, points: Sequence[tuple[float, float]], place: float) -> list[str]:
    """A line through its points, and its label at its end."""
    x, y = points[-1]
    path = " L".join(f"{across:.1f} {up:.1f}" for across, up in points)
    name = f"{each.work}, {each.accounts:,} account{'s' if each.accounts > 1 else ''}"
    figure = f'<tspan class="figure">{each.points[-1][1]:.2f}</tspan>'
    return [
        f'<g class="c{colour}">',
        f'<path class="line{" many" if each.accounts > 1 else ""}" d="M{path}"/>',
        *(f'<circle class="point" cx="{across:.1f}" cy="{up:.1f}" r="3.5"/>' for across, up in points[1:]),
        f'<path class="leader" d="M{x + 7:.1f} {y:.1f} L{LABELS - 5} {place:.1f}"/>',
        f'<text class="said" x="{LABELS}" y="{place + 4:.1f}">{figure} {escape(name)}</text>',
        "</g>",
    ]


def _rule(ratio: float, y: float) -> str:
    kind = "one" if ratio == 1 else "rule"
    label = _text(LEFT - 12, y + 4, f"{ratio:.2f}", anchor="end")
    return f'<path class="{kind}" d="M{LEFT} {y:.1f} H{RIGHT}"/>{label}'


def _goal(goal: float, y: float) -> str:
    label = _text(LEFT + 4, y + 14, f"goal {goal:g}", anchor="start")
    return f'<path class="goal" d="M{LEFT} {y:.1f} H{RIGHT}"/>{label}'


def _text(x: float, y: float, said: str, *, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def _picture(title: str, remark: str, parts: Sequence[str]) -> str:
    light, dark = ("".join(f".c{i} {{ color: {c} }}\n" for i, c in enumerate(colours)) for colours in (_LIGHT, _DARK))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'role="img" aria-labelledby="title">',
            f"<style>{_STYLE}{light}@media (prefers-color-scheme: dark) {{{_AT_NIGHT}{dark}}}\n</style>",
            f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
            f'<text id="title" class="title" x="{LEFT - 32}" y="32">{escape(title)}</text>',
            f'<text x="{LEFT - 32}" y="52">{escape(remark)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
