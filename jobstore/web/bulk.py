"""Knows `POST /events`: NDJSON, a line an event with its `job`, answered a line a line, in order, both while it goes
on.

Memory is bounded by what is under way: at most LINES lines and BYTES bytes are read and not yet answered. A line is
recorded, refused or malformed by itself; a line that is too long is skipped and answered so.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import orjson
from aiohttp import web

from jobstore.formats import native
from jobstore.store import Store
from jobstore.store.accounts import Principal
from jobstore.store.request import Append, Appended
from jobstore.web.bodies import MOST, check_encoding, parse
from jobstore.web.conditions import checked_key, trace
from jobstore.web.credentials import principal
from jobstore.web.events import NDJSON
from jobstore.web.naming import NO_SUCH_JOB, STORE, number_of
from jobstore.web.problems import Problem, break_off, explain

LINES: Final = 2000
BYTES: Final = 4 * 2**20
CHUNK: Final = 2**16  # bytes read at a time
STALLED: Final = 60.0  # seconds without the client reading a single answer, after which it is given up

Answer = asyncio.Future[Appended] | Exception  # what a line comes to

_TYPES: Final = (NDJSON, "application/ndjson", "application/jsonl", "application/x-jsonlines")


async def bulk(request: web.Request) -> web.StreamResponse:
    """POST /events"""
    who = await principal(request, "write")
    check_encoding(request)
    if request.content_type not in _TYPES:
        raise Problem("unsupported-media-type", f"send {NDJSON}, not {request.content_type}")
    if "Idempotency-Key" in request.headers:
        raise Problem("bad-request", "a key belongs to a line: give each its own as idempotency_key")
    response = web.StreamResponse(headers={"Content-Type": NDJSON})
    await response.prepare(request)
    window = _Window()
    reader = asyncio.create_task(_read(request, who, window))
    try:
        number = 0
        while answers := await window.take():
            lines = []
            for answer, size in answers:
                number += 1
                if isinstance(answer, asyncio.Future) and not answer.done():
                    with suppress(Exception):
                        await answer
                lines.append(_line(number, answer))
                window.release(size)
            async with asyncio.timeout(STALLED):
                await response.write(b"".join(lines))
        await reader
        await response.write_eof()
    except Exception as error:
        break_off(request, error)
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reader
    return response


class _Window:
    """Lines read and not yet answered, in order."""

    def __init__(self) -> None:
        self._answers: list[tuple[Answer, int]] = []
        self._bytes = 0
        self._lines = 0
        self._over = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()

    async def room(self) -> None:
        """Wait while the window is full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    @property
    def full(self) -> bool:
        """Whether no more lines are to be read for now."""
        return self._lines >= LINES or self._bytes >= BYTES

    def put(self, answer: "Answer", size: int) -> None:
        """Add a line's answer to come."""
        self._answers.append((answer, size))
        self._lines += 1
        self._bytes += size
        self._filled.set()

    def end(self) -> None:
        """No line comes after this."""
        self._over = True
        self._filled.set()

    async def take(self) -> "list[tuple[Answer, int]]":
        """What stands in line; empty when all lines were taken."""
        while not self._answers and not self._over:
            self._filled.clear()
            await self._filled.wait()
        taken, self._answers = self._answers, []
        return taken

    def release(self, size: int) -> None:
        """A line was answered."""
        self._lines -= 1
        self._bytes -= size
        self._room.set()


async def _read(request: web.Request, who: Principal, window: _Window) -> None:
    """Hand every line to the ledger as it comes."""
    known_as, store = trace(request), request.app[STORE]
    try:
        async for lines in _lines(request):
            for line in lines:
                if window.full:
                    await window.room()
                if line is None:
                    window.put(Problem("too-large", f"a line has at most {MOST} bytes"), 0)
                    continue
                try:
                    value = _object(line)
                    job = value.pop("job")
                    number = job if type(job) is int and 0 < job < 2**63 else await _number(store, who, job)
                    answer: Answer = store.ledger.append(_append(who, number, value, line, known_as))
                except Exception as error:
                    answer = error
                window.put(answer, len(line))
    except (ConnectionError, web.RequestPayloadError):
        window.put(Problem("bad-request", "the body cannot be read to its end"), 0)
    finally:
        window.end()


async def _lines(request: web.Request) -> AsyncIterator[list[bytes | None]]:
    """The lines of the body as they arrive, empty ones left out; None for one that is too long."""
    rest = b""
    skipping = False
    while chunk := await request.content.read(CHUNK):
        await asyncio.sleep(0)  # what has arrived is read without a pause, and others have requests too
        *ended, rest = (rest + chunk).split(b"\n")
        if skipping and ended:
            del ended[0]
            skipping = False
        lines = [line if len(line) <= MOST else None for line in ended if line.strip()]
        if skipping:
            rest = b""
        elif len(rest) > MOST:
            lines.append(None)
            rest, skipping = b"", True
        yield lines
    if rest.strip() and not skipping:
        yield [rest]


def _object(line: bytes) -> dict[str, Any]:
    value = parse(line)
    if not isinstance(value, dict) or "job" not in value:
        raise Problem("malformed", "a line is an object with `job` and `type`")
    return value


def _append(who: Principal, number: int, value: dict[str, Any], line: bytes, known_as: str | None) -> Append:
    key = value.pop("idempotency_key", None)
    if key is not None:
        if not isinstance(key, str):
            raise Problem("malformed", "idempotency_key is a text")
        checked_key(key)
    digest = sha256(b"POST /events\n" + line.strip()).digest() if key is not None else b""
    return Append(who.account_id, number, native.reports(value), who.by, None, key, digest, known_as)


async def _number(store: Store, who: Principal, job: Any) -> int:
    if isinstance(job, str):
        return await number_of(store, who, job)
    raise Problem("not-found", NO_SUCH_JOB)


def _line(number: int, answer: "Answer") -> bytes:
    try:
        if isinstance(answer, Exception):
            raise answer
        appended = answer.result()
    except Exception as error:
        return orjson.dumps({"line": number, **explain(error).body()}) + b"\n"
    return b'{"line":%d,"status":200,"job":%d,"version":%d,"position":%d,"recorded":%d}\n' % (
        number,
        appended.job,
        appended.version,
        appended.position,
        appended.version - appended.first_version + 1,
    )
