"""Knows how an event stream is written: server-sent events (WHATWG HTML, 9.2) in chunks (RFC 9112, 7.1). Pure; must not
know who reads it, or what an event means.

No field can end its line before it ends, so nothing that is said can pass for a frame of its own.
"""

import re
from typing import Final

_BREAK: Final = re.compile(rb"\r\n|\r|\n")
_BROKEN: Final = re.compile(r"[\r\n\0]")

MEDIA_TYPE: Final = "text/event-stream"


def frame(id: int, event: str, data: bytes) -> bytes:
    """An event. A line break in `data`, of whichever kind, arrives as a line feed; in `event` it becomes a space."""
    name = _BROKEN.sub(" ", event).encode()
    if b"\n" in data or b"\r" in data:
        data = _BREAK.sub(b"\ndata: ", data)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (id, name, data)


def mark(id: int) -> bytes:
    """Not an event: from here on a client that comes back asks for what is after `id`."""
    return b"id: %d\n\n" % id


def comment(text: str = "") -> bytes:
    """A line that clients skip. No empty line follows, which some take for the end of an event."""
    return b"".join(b":%b\n" % line for line in _BREAK.split(text.encode()))


def retry(milliseconds: int) -> bytes:
    """How long a client waits before it comes back."""
    return b"retry: %d\n" % milliseconds


def end(id: int) -> bytes:
    """The last event of a feed that is over."""
    return frame(id, "end", b'{"position":%d}' % id)


def gap(first: int, last: int) -> bytes:
    """What was asked for and is not kept any more: the positions from `first` to `last`."""
    return frame(last, "gap", b'{"from":%d,"to":%d}' % (first, last))


def chunk(data: bytes) -> bytes:
    """`data`, of which there must be some, as one chunk of a message."""
    return b"%x\r\n%b\r\n" % (len(data), data)
