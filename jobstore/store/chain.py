"""Knows how one event's hash follows from the one before it. Anybody can recompute it from what the log shows.

    genesis = SHA-256 of "jobstore log v1\\n" + account name
    digest  = SHA-256 of the payload's bytes
    hash    = SHA-256 of the hash before, then the header:
              "jobstore event v1\\n" position \\n job \\n version \\n type \\n at \\n by \\n trace \\n digest in hex \\n

`at` is microseconds since 1970, UTC. `by` and `trace` are JSON strings, trace null when there was none, so that no
value can pretend to be two lines. The payload enters by its digest, so that it can be replaced by that digest later.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from json.encoder import encode_basestring as quote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """`at` as it stands in the header."""
    return (at - _EPOCH) // _MICROSECOND


def genesis(account: str) -> bytes:
    """The hash before the first event of the account with this name."""
    return sha256(b"jobstore log v1\n" + account.encode()).digest()


def link(
    before: bytes,
    position: int,
    job: int,
    version: int,
    type: str,
    at: int,
    by: str,
    trace: str | None,
    data: str,
) -> bytes:
    """The hash of one event; `before` is the hash of the event at the position before it."""
    header = (
        f"jobstore event v1\n{position}\n{job}\n{version}\n{type}\n{at}\n{quote(by)}\n"
        f"{'null' if trace is None else quote(trace)}\n{sha256(data.encode()).hexdigest()}\n"
    )
    return sha256(before + header.encode()).digest()
