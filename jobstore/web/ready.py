"""Knows how to answer with bytes that are ready, without building and encoding headers for every request.

A poll is asked for far more often than its job changes; its answer is one write of bytes that were joined before.
Measured in benchmarks/README.md. The message is as RFC 9112 has it, with Date as RFC 9110, 6.6.1 asks for.
"""

import time
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_request import BaseRequest

from jobstore.web.cors import ORIGIN
from jobstore.web.telling import ALLOWANCE

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_date = (0, b"")


def head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    """The beginning of an answer: the status line and its fields, still open for more. Values must be of one line."""
    text = _LINES[status]
    for name, value in headers.items():
        text += f"{name}: {value}\r\n"
    if length is not None:
        text += f"Content-Length: {length}\r\n"
    return text.encode("ascii")


class Ready(web.StreamResponse):
    """An answer of a `head` and a body. Only for requests that `suits`."""

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        super().__init__(status=status)
        self._head = head
        self._bytes = body

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write all of it. The connection stays open if the client wants it so."""
        self._keep_alive = request.keep_alive
        end = b"\r\n" if request.keep_alive else b"Connection: close\r\n\r\n"
        body = b"" if request.method == hdrs.METH_HEAD else self._bytes
        await request.writer.write(b"".join((self._head, _now(), end, body)))
        self._eof_sent = True
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """All is written already."""


def answer(request: web.Request, status: int, headers: dict[str, str], body: bytes) -> web.StreamResponse:
    """An answer of JSON, as bytes that are ready where the request suits."""
    headers = {"Content-Type": "application/json", **headers}
    if not suits(request):
        return web.Response(status=status, body=body, headers=headers)
    return Ready(status, head(status, headers, len(body)), body)


def suits(request: web.Request) -> bool:
    """Whether the client speaks the version that a ready answer is in, and is told nothing of its own."""
    return request.version == HttpVersion11 and (
        not len(request) or (ALLOWANCE not in request and ORIGIN not in request)
    )


def _now() -> bytes:
    """The Date and Server fields, made anew each second."""
    global _date
    second = int(time.time())
    if _date[0] != second:
        _date = (second, f"Date: {formatdate(second, usegmt=True)}\r\nServer: jobstore\r\n".encode("ascii"))
    return _date[1]
