"""Knows how a recorded event looks as a line."""

from datetime import datetime

import orjson

from jobstore.job import codec
from jobstore.job.events import JobQueued
from jobstore.store.history import Entry


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
