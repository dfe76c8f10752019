"""Knows how two things are compared fairly on a shared machine: in turn, several rounds, the ratio round by round."""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobstore.store.embedded import Embedded

Measured = Callable[[], Awaitable[float]]


def options(doc: str | None) -> argparse.Namespace:
    """The command line of every benchmark."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured, in turn (default: 5)")
    return parser.parse_args()


def hardware() -> str:
    """One line about this machine."""
    cpu = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() if Path("/proc/cpuinfo").exists() else Path(os.devnull).open() as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else cpu}, Python {platform.python_version()}, {platform.system()}"


async def compare(what: str, ours: Measured, theirs: Measured, *, rounds: int, unit: str, goal: str) -> None:
    """Print ours / theirs: the median of the rounds and their spread, and the two figures."""
    pairs = []
    for number in range(rounds + 1):
        pair = (await ours(), await theirs())
        if number:  # the first round warms up
            pairs.append(pair)
    ratios = sorted(a / b for a, b in pairs)
    a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{what:<62} {statistics.median(ratios):5.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}, goal {goal})"
        f"   {_figure(a)} against {_figure(b)} {unit}",
        flush=True,
    )


def _figure(value: float) -> str:
    return f"{value:>9,.0f}" if value >= 100 else f"{value:>9.1f}"


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
