"""Knows how one event's hash follows from the one before it. Anybody can recompute it from what the log shows.

    genesis = SHA-256 of "jobstore log v1\\n" + account name
    digest  = SHA-256 of the payload's bytes as they were recorded
    hash    = SHA-256 of the hash before, then the header:
              "jobstore event v1\\n" position \\n job \\n version \\n type \\n at \\n by \\n trace \\n digest in hex \\n

`at` is microseconds since 1970, UTC. `by` and `trace` are JSON strings, trace null when there was none, so that no
value can pretend to be two lines. The payload enters by its digest alone, so an event whose payload was erased, of
which only the digest is kept, still has its hash.
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


def digest(data: str) -> str:
    """What the chain covers of a payload, in hex."""
    return sha256(data.encode()).hexdigest()


def link(
    before: bytes,
    position: int,
    job: int,
    version: int,
    type: str,
    at: int,
    by: str,
    trace: str | None,
    digest: str,
) -> bytes:
    """The hash of one event; `before` is the hash of the event at the position before it, `digest` the payload's."""
    header = (
        f"jobstore event v1\n{position}\n{job}\n{version}\n{type}\n{at}\n{quote(by)}\n"
        f"{'null' if trace is None else quote(trace)}\n{digest}\n"
    )
    return sha256(before + header.encode()).digest()
