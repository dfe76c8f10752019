"""Knows how a log is written to a file, verifiable by itself, and read back.

A file is lines of JSON. The first says whose log it is and what comes before: the account that the chain began under,
a position, and the hash there. Then a line an event, in order, with `data` verbatim: from after the first `,"data":` of
a line on, the payload's exact bytes, which are the digest's. The last line has a signed checkpoint of the event before
it, as a text. A file without that was cut off.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Final, NamedTuple

import msgspec
import orjson
from msgspec import Meta, Raw, Struct

from jobstore.store.chain import genesis
from jobstore.store.checkpoints import Checkpoint, unverified
from jobstore.store.notes import Unproven
from jobstore.store.sealed import PAGE, End, Log, Sealed
from jobstore.store.verifying import verified

_LAST: Final = 64 * 1024  # bytes; the last line is shorter
_CUT: Final = "the file ends without its checkpoint, so it is not whole"


Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Opening(Struct, forbid_unknown_fields=True):
    """The first line."""

    account: str
    after: int
    hash: str


class Line(Struct, forbid_unknown_fields=True):
    """An event."""

    position: Number
    job: Number
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    type: str
    at: datetime
    by: str
    trace: str | None
    data: Raw
    hash: str
    erased: str | None = None

    def sealed(self) -> Sealed:
        """The event. Raises ValueError when it cannot be one."""
        hash, erased = bytes.fromhex(self.hash), None if self.erased is None else bytes.fromhex(self.erased)
        if self.at.tzinfo is None:
            raise ValueError("a time without a zone")
        return Sealed(
            self.position, self.job, self.version, self.type, self.at, self.by, self.trace,
            bytes(self.data).decode(), erased, hash,
        )  # fmt: skip


class Closing(Struct, forbid_unknown_fields=True):
    """The last line."""

    checkpoint: str


class Export(NamedTuple):
    """A file: the log in it, the account that this began under, and what closes it, if it is whole."""

    log: Log
    account: str
    note: str | None
    checkpoint: Checkpoint | None


_opening: Final = msgspec.json.Decoder(Opening).decode
_line: Final = msgspec.json.Decoder(Line).decode
_closing: Final = msgspec.json.Decoder(Closing).decode


def line(event: Sealed) -> bytes:
    """An event as a line."""
    members = {
        "position": event.position,
        "job": event.job,
        "version": event.version,
        "type": event.type,
        "at": event.at,
        "by": event.by,
        "trace": event.trace,
        "data": orjson.Fragment(event.data),
        "hash": event.hash.hex(),
    }
    if event.erased is not None:
        members["erased"] = event.erased.hex()
    return orjson.dumps(members, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


async def exported(account: str, log: Log, sign: Callable[[End], Awaitable[str]]) -> AsyncIterator[tuple[int, bytes]]:
    """The lines of a log that began under `account`, many at a time, with the position that they reach.

    Raises Broken where the log does not hold; then the last line, which `sign` gives the note for, does not come.
    """
    opening = Opening(account, log.begin.position, log.begin.hash.hex())
    yield log.begin.position, msgspec.json.encode(opening) + b"\n"
    end = log.begin
    async for page in verified(log):
        end = End(page[-1].position, page[-1].hash)
        yield end.position, b"".join(map(line, page))
    yield end.position, msgspec.json.encode(Closing(await sign(end))) + b"\n"


def read(path: Path) -> Export:
    """The log in a file. Raises Unproven when it is not an export, OSError when it cannot be read."""
    with path.open("rb") as file:
        try:
            opening = _opening(file.readline())
            begin = End(opening.after, bytes.fromhex(opening.hash))
        except (msgspec.DecodeError, ValueError):
            raise Unproven(f"{path} is not an export: its first line does not say of which account") from None
        note = _note(file)
    if begin.position == 0 and begin.hash != genesis(opening.account):
        raise Unproven(f"{path} does not begin as the log of an account named {opening.account!r} does")
    checkpoint = None if note is None else unverified(note)
    end = None if checkpoint is None else End(checkpoint.position, checkpoint.hash)

    def pages(after: int) -> AsyncIterator[list[Sealed]]:
        return _pages(path, after - begin.position)

    return Export(Log(str(path), begin, end, pages, _CUT), opening.account, note, checkpoint)


def _note(file: IO[bytes]) -> str | None:
    """What the last line has, if it is a closing one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LAST))
    *_, last = [b"", *file.read().splitlines(keepends=True)]
    try:
        return _closing(last).checkpoint if last.endswith(b"\n") else None
    except (msgspec.DecodeError, ValueError):
        return None


async def _pages(path: Path, skipped: int) -> AsyncIterator[list[Sealed]]:
    """The events of a file after the first ones, in the order of its lines."""
    with path.open("rb") as file:
        file.readline()
        page: list[Sealed] = []
        for number, text in enumerate(file, 2):
            if number < skipped + 2:
                continue
            try:
                page.append(_line(text).sealed())
            except (msgspec.DecodeError, ValueError, OverflowError) as error:
                if file.read(1) or not _ends(text):
                    raise Unproven(f"{path} has no event in line {number}: {error}") from None
                break
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page


def _ends(text: bytes) -> bool:
    """Whether a last line is one that closes, or one that was cut off."""
    return not text.endswith(b"\n") or text.startswith(b'{"checkpoint":')
