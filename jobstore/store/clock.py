"""Knows what time it is and how to draw an id; the core is told both."""

import os
from datetime import UTC, datetime


def now() -> datetime:
    """The present moment in UTC, to the microsecond."""
    return datetime.now(UTC)


def uuid7(at: datetime) -> str:
    """A UUID version 7 of the moment `at`, as 32 hex digits (RFC 9562, section 5.7)."""
    milliseconds = int(at.timestamp() * 1000)
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds << 80) | random
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return f"{value:032x}"
