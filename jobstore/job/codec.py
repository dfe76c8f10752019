"""Knows how an event is written down and read back; must not know where the bytes go.

WARNING: the names in NAMES are in every stored log, under hashes that cannot be recomputed. Add, never rename.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from jobstore.job.events import (
    Annotated,
    Event,
    JobCancelled,
    JobCompleted,
    JobErased,
    JobFailed,
    JobQueued,
    JobRemoved,
    JobStarted,
    JobStarting,
    JobStopping,
    OutputProduced,
    ProgressReported,
    ResultRecorded,
    RetryScheduled,
    StopRequested,
)

NAMES: dict[type[Any], str] = {
    JobQueued: "queued",
    JobStarting: "starting",
    JobStarted: "started",
    ProgressReported: "progressed",
    OutputProduced: "output_produced",
    ResultRecorded: "result_recorded",
    StopRequested: "stop_requested",
    JobStopping: "stopping",
    JobCancelled: "cancelled",
    JobCompleted: "completed",
    JobFailed: "failed",
    RetryScheduled: "retry_scheduled",
    Annotated: "annotated",
    JobRemoved: "removed",
    JobErased: "erased",
}

_decoders: dict[str, Callable[[bytes | str], Event]] = {
    name: msgspec.json.Decoder(kind).decode for kind, name in NAMES.items()
}
_encode = msgspec.json.Encoder().encode


def name(event: Event) -> str:
    """The name under which `event` is stored, which is also its type on the wire."""
    return NAMES[type(event)]


def encode(event: Event) -> str:
    """The payload as JSON text. These bytes, not their meaning, are what the chain's digest covers."""
    return _encode(event).decode()


def decode(name: str, data: bytes | str) -> Event:
    """The event stored under `name` with payload `data`.

    Raises KeyError for a name that was never written, msgspec.ValidationError for a payload that is not of its kind.
    """
    return _decoders[name](data)
