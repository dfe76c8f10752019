"""Parses an event stream as the WHATWG HTML specification says (9.2.5 and 9.2.6), byte by byte as it may arrive."""

import re
from typing import NamedTuple


class Event(NamedTuple):
    """What a client's listener would be given."""

    type: str
    data: str
    id: str


class Parser:
    """What a client knows of a stream: `last_event_id`, with which it comes back, and `retry`."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._rest = b""
        self._first = True
        self._data: list[str] = []
        self._type = ""
        self._id = ""

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        text = self._rest + data
        # A CR at the end may be half of a CRLF: it waits for what follows.
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = re.split(rb"\r\n|\n|\r", text.removesuffix(held))
        self._rest = rest + held
        events = []
        for line in lines:
            if self._first:
                line = line.removeprefix(b"\xef\xbb\xbf")
                self._first = False
            event = self._line(line.decode(errors="replace"))
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_event_id = self._id
        data, type = self._data, self._type
        self._data, self._type = [], ""
        return Event(type or "message", "\n".join(data), self.last_event_id) if data else None


def parse(stream: bytes) -> list[Event]:
    """The events of a stream that has ended: what is not complete by then is dropped."""
    return Parser().feed(stream)
