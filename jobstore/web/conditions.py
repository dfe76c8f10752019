"""Knows the headers that make a request conditional, waiting, repeatable or traceable; a function reads one meaning."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from aiohttp import web

from jobstore.web.problems import Problem

LONGEST_WAIT: Final = 60.0  # seconds

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION = re.compile(r'"(\d{1,9})"|(\d{1,9})', re.ASCII)
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d+)\b", re.ASCII | re.IGNORECASE)
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_REQUEST = re.compile(r"[\x21-\x7e]{1,200}")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def is_known(request: web.Request, version: int) -> bool:
    """Whether If-None-Match names `version`, or all with * (RFC 9110, 13.1.2). A bare number is taken for a tag."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return False
    tag = str(version)
    if header == f'"{tag}"':  # as it was told, and as almost everybody asks
        return True
    text = header.strip()
    return text in ("*", tag) or tag in _TAG.findall(text)


def expected_version(request: web.Request) -> int | None:
    """The version that If-Match asks for (RFC 9110, 13.1.1). Raises Problem when it cannot be one."""
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    found = _VERSION.fullmatch(header.strip())
    if found is None:
        raise Problem("bad-request", f'If-Match takes one version, such as If-Match: "6", not {header}')
    return int(found[1] or found[2])


def wait_seconds(request: web.Request) -> float:
    """The seconds of `Prefer: wait=N` (RFC 7240, 4.3), as far as this server waits; 0 without it."""
    found = _WAIT.search(",".join(request.headers.getall("Prefer", ())))
    return min(LONGEST_WAIT, float(found[1])) if found else 0.0


def idempotency(request: web.Request, body: bytes) -> tuple[str | None, bytes]:
    """The Idempotency-Key, and the digest of the request that it stands for. Raises Problem for a malformed key."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None, b""
    return checked_key(key), sha256(f"{request.method} {request.path_qs}\n".encode() + body).digest()


def trace(request: web.Request) -> str | None:
    """How the request is known to those who traced it: `trace ID`, from traceparent (W3C Trace Context, 3.2), or else
    `request ID`, from X-Request-Id. What cannot be an id is no more than a hint that was lost. None of it can be an
    idempotency key, which has no space.
    """
    parent = request.headers.get("traceparent")
    found = None if parent is None else _TRACE.fullmatch(parent)
    if found is not None:
        return f"trace {found[1]}"
    id = request.headers.get("X-Request-Id")
    return None if id is None or not _REQUEST.fullmatch(id) else f"request {id}"


def checked_key(key: str) -> str:
    """The key, if it can be one. Raises Problem."""
    if not _KEY.fullmatch(key):
        raise Problem("bad-request", "an idempotency key has 1 to 255 visible ASCII characters")
    return key


def whole(request: web.Request, name: str, *, least: int, most: int, default: int) -> int:
    """A whole number from the query. Raises Problem when it is none, or out of bounds."""
    text = request.query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise Problem("malformed", f"{name} is a whole number from {least} to {most}")
    return int(text)


def moment(text: str) -> int | datetime:
    """What `?at=` says: a position, or a time with its offset (ISO 8601). Raises Problem."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # a + that was not escaped arrives as a space
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise Problem("malformed", "at is a position, or a time such as 2026-01-31T12:00:00Z")
    try:
        return at.astimezone(UTC)
    except OverflowError:  # a moment of the year 0 or 10000
        return (datetime.min if at.year == 1 else datetime.max).replace(tzinfo=UTC)
