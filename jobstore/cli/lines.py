"""Knows how a recorded event looks as a line: to people in a terminal, to programs in a pipe."""

from datetime import datetime
from typing import Final

import click
import msgspec
import orjson

from jobstore.formats import native
from jobstore.job import codec
from jobstore.job.events import JobCancelled, JobCompleted, JobFailed, JobQueued
from jobstore.store.history import Entry

_COLOURS: Final = {
    codec.NAMES[JobCompleted]: "green",
    codec.NAMES[JobFailed]: "red",
    codec.NAMES[JobCancelled]: "yellow",
}


class _Recorded(msgspec.Struct):
    """A recorded event as `native.recorded` writes it."""

    position: int
    job: int
    version: int
    type: str
    at: datetime
    data: msgspec.Raw
    by: str


def entry_of(data: bytes) -> Entry:
    """The event that a feed tells. Raises msgspec.DecodeError when it is none."""
    event = msgspec.json.decode(data, type=_Recorded)
    payload = bytes(event.data).decode()
    return Entry(event.position, event.job, event.version, event.type, event.at, payload, event.by, None)


def told(entry: Entry, *, coloured: bool) -> str:
    """An event of an account: when, where in the log, of which job, what, and what it says."""
    columns = (clock(entry.at), str(entry.position), str(entry.job), printable(entry.type), said(entry))
    if not coloured:
        return "\t".join(columns)
    at, position, job, type, text = columns
    event = click.style(f"{type:<15}", fg=_COLOURS.get(entry.type), bold=True)
    return f"{click.style(at, dim=True)} {position:>7} {click.style(f'#{job:<5}', fg='cyan')} {event} {text}".rstrip()


def lived(entry: Entry, begin: datetime, job: native.Job) -> str:
    """An event of a job's life: how long after its beginning, what, how the job is after it, and what it says."""
    fraction = job.progress.as_fraction()
    progress = "" if fraction is None else f"{fraction:4.0%}"
    passed = f"+{(entry.at - begin).total_seconds():.1f}s"
    return f"{passed:>9} {entry.type:<16} {job.state:<14} {progress:>4}  {said(entry)}".rstrip()


def clock(at: datetime) -> str:
    """A moment, UTC, to the millisecond."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}"


def said(entry: Entry) -> str:
    """What the event says, on one line."""
    data = orjson.loads(entry.data)
    return printable(
        " ".join(
            f"{name}={value if isinstance(value, str) else orjson.dumps(value).decode()}"
            for name, value in data.items()
            if not (name == "uid" and entry.type == codec.NAMES[JobQueued])
        )
    )


def printable(text: str) -> str:
    """The text with nothing in it that ends the line, or that a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
