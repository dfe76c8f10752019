"""Knows how an event stream is read (WHATWG HTML, 9.2.6); must not know where it comes from, or what an event means."""

import re
from typing import Final, NamedTuple

_BREAK: Final = re.compile(rb"\r\n|\n|\r")
_MARK: Final = b"\xef\xbb\xbf"  # a byte order mark, which may stand before everything


class Event(NamedTuple):
    """What a stream tells. `id` is what a reader comes back with who has had it."""

    type: str
    data: bytes
    id: str


class Parser:
    """Makes events of bytes, however these are cut.

    `retry` is how many milliseconds a reader is to wait before it comes back with `last_event_id`.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._id = last_event_id
        self._type = ""
        self._data: list[bytes] = []
        self._rest = b""
        self._first = True

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        data = self._rest + data
        held = b"\r" if data.endswith(b"\r") else b""  # it may be half of a CRLF
        *lines, rest = _BREAK.split(data.removesuffix(held))
        self._rest = rest + held
        return [event for line in lines if (event := self._line(line)) is not None]

    def _line(self, line: bytes) -> Event | None:
        if self._first:
            line = line.removeprefix(_MARK)
            self._first = False
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"event":
                self._type = value.decode(errors="replace")
            case b"data":
                self._data.append(value)
            case b"id" if b"\0" not in value:
                self._id = value.decode(errors="replace")
            case b"retry" if value.isdigit():
                self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        type, data = self._type, self._data
        self._type, self._data = "", []
        return Event(type or "message", b"\n".join(data), self.last_event_id) if data else None
