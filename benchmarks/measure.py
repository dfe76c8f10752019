"""Knows how two things are compared fairly on a shared machine: in turn, several rounds, the ratio round by round.

Every benchmark is a module with a `main(report)`, which runs it on a Postgres of its own and puts lines in the report;
`python -m benchmarks.NAME` runs one, `python -m benchmarks` all of them.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobstore.store.embedded import Embedded

Measured = Callable[[], Awaitable[float]]

ROUNDS: Final = 5


@dataclass(frozen=True)
class Line:
    """What was found. `ratio` is ours / theirs: the median of the rounds, between the lowest and the highest.

    A line without a ratio is a figure of ours alone, in `unit`; one with neither says in `remark` why there is none.
    """

    stage: str
    what: str
    against: str = ""
    ratio: float | None = None
    lowest: float | None = None
    highest: float | None = None
    ours: float | None = None
    theirs: float | None = None
    unit: str = ""
    goal: str = ""
    remark: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, where there is one: `>= x` or `<= x`, of the ratio or else of our figure."""
        found = self.ours if self.ratio is None else self.ratio
        if not self.goal or found is None:
            return None
        sign, bound = self.goal.split()
        value = float(bound.replace(",", ""))
        return found >= value if sign == ">=" else found <= value

    def figures(self) -> str:
        """Both figures, or the one there is."""
        told = [_figure(value) for value in (self.ours, self.theirs) if value is not None]
        return f"{' against '.join(told)} {self.unit}" if told else self.remark

    def spread(self) -> str:
        """The ratio with its spread."""
        if self.ratio is None:
            return ""
        return f"{self.ratio:.2f} ({self.lowest:.2f}-{self.highest:.2f})"


class Report:
    """Lines, told as they are found. `quick` asks for sizes that take little time; the figures then say less."""

    def __init__(self, *, rounds: int = ROUNDS, quick: bool = False) -> None:
        self.rounds = rounds
        self.quick = quick
        self.lines: list[Line] = []

    def add(self, line: Line) -> None:
        """Keep a line, and print it."""
        self.lines.append(line)
        verdict = {True: "  met", False: "  MISSED", None: ""}[line.met]
        what = f"{line.what} / {line.against}" if line.against else line.what
        goal = f", goal {line.goal}" if line.goal else ""
        print(f"{line.stage + ': ' + what:<78} {line.spread():<22} {line.figures()}{goal}{verdict}", flush=True)

    async def compare(
        self, stage: str, what: str, against: str, ours: Measured, theirs: Measured, *, unit: str, goal: str = ""
    ) -> Line:
        """Measure ours and theirs in turn; the first round warms up and does not count."""
        pairs = [(await ours(), await theirs()) for _ in range(self.rounds + 1)][1:]
        ratios = sorted(a / b for a, b in pairs)
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        line = Line(stage, what, against, statistics.median(ratios), ratios[0], ratios[-1], a, b, unit, goal)
        self.add(line)
        return line

    def tell(self, stage: str, what: str, value: float, *, unit: str, goal: str = "") -> None:
        """A figure of ours alone."""
        self.add(Line(stage, what, ours=value, unit=unit, goal=goal))

    def lacks(self, stage: str, what: str, against: str, error: ImportError | OSError) -> None:
        """A comparison that cannot be made here."""
        self.add(Line(stage, what, against, remark=f"not measured: {error}"))


def alone(main: Callable[[Report], None], doc: str | None) -> None:
    """The command line of one benchmark."""
    parser = argparse.ArgumentParser(description=doc)
    options(parser)
    arguments = parser.parse_args()
    print(hardware())
    main(Report(rounds=arguments.rounds, quick=arguments.quick))


def options(parser: argparse.ArgumentParser) -> None:
    """What every command line of a benchmark takes."""
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"how often each is measured, in turn (default: {ROUNDS})"
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, which say less")


def hardware() -> str:
    """One line about this machine."""
    cpu = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() if Path("/proc/cpuinfo").exists() else Path(os.devnull).open() as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else cpu}, Python {platform.python_version()}, {platform.system()}"


@contextmanager
def postgres() -> Iterator[str]:
    """The address of a Postgres of this run alone, as `jobstore serve` starts it: fsync on."""
    folder = Path(tempfile.mkdtemp(prefix="jobstore-bench-", dir="/tmp"))
    folder.chmod(0o755)
    server = Embedded(folder / "data")
    server.open()
    try:
        yield server.dsn
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value else "0"
