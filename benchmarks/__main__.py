"""How far this is from what people would use instead, and from what the machine allows: all benchmarks in one run.

Each is measured in turn with what it is compared with, on one Postgres server with fsync on, and the ratio is taken
round by round. Peers that are not installed are left out: pip install '.[bench]', and nginx with libnginx-mod-nchan.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import append, feed, fold, growth, lost, over_http, plot, poll
from benchmarks.measure import Report, hardware, options

STAGES = {
    "append": append.main,
    "http": over_http.main,
    "poll": poll.main,
    "feed": feed.main,
    "fold": fold.main,
    "lost": lost.main,
    "growth": growth.main,
}


def table(report: Report) -> Table:
    """The lines, a stage after the other."""
    told = Table(title=hardware(), title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "what", "against"):
        told.add_column(name, no_wrap=name == "stage")
    for name in ("ratio (lowest-highest)", "figures", "goal", ""):
        told.add_column(name, justify="right" if name == "figures" else "left")
    for line in report.lines:
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[line.met]
        told.add_row(line.stage, line.what, line.against, line.spread(), line.figures(), line.goal, verdict)
    return told


def main() -> None:
    """Run the stages that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options(parser)
    parser.add_argument("--only", action="append", choices=STAGES, help="this stage only; may be given more than once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth figures to FILE, an SVG")
    arguments = parser.parse_args()
    rounds = min(arguments.rounds, 2) if arguments.quick else arguments.rounds
    report = Report(rounds=rounds, quick=arguments.quick)
    begin = time.monotonic()
    print(hardware(), flush=True)
    for name, stage in STAGES.items():
        if not arguments.only or name in arguments.only:
            stage(report)
    Console(width=None if sys.stdout.isatty() else 180).print("\n", table(report))
    print(f"\n{len(report.lines)} lines, {rounds} rounds each, in {time.monotonic() - begin:.0f} s")
    if arguments.json:
        found = {"hardware": hardware(), "rounds": rounds, "quick": arguments.quick}
        lines = [{**asdict(line), "met": line.met} for line in report.lines]
        arguments.json.write_text(json.dumps({**found, "lines": lines}, indent=1) + "\n")
    if arguments.plot:
        arguments.plot.write_text(plot.svg(report.lines))


if __name__ == "__main__":
    main()
