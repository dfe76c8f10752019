"""Knows how to read a request's body without trusting it: what is JSON, and which JSON can be stored and given back."""

import asyncio
import json
import re
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from jobstore.web import forms
from jobstore.web.problems import Problem

MOST: Final = 2**20  # bytes of a JSON body, or of one line of NDJSON
DEEPEST: Final = 64  # levels of arrays and objects
SECONDS: Final = 60  # in which a body must have arrived

_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 19  # of a body whose digits are all 0; a tenth of what looking for it by `re` takes
_JSON = re.compile(r"application/(.+\+)?json|text/json")


async def read_json(request: web.Request) -> tuple[bytes, Any]:
    """The body, and what it means. Raises Problem."""
    check_encoding(request)
    said = request.headers.get(hdrs.CONTENT_TYPE)
    if said != "application/json" and said is not None and not _JSON.fullmatch(request.content_type):
        raise Problem("unsupported-media-type", f"send application/json, not {request.content_type}")
    body = await _read(request)
    return body, parse(body)


async def read_any(request: web.Request) -> Any:
    """What the body means, JSON or a form; None where there is none. Raises Problem.

    Clients that send JSON without saying so are many: what begins like an object is taken for one.
    """
    check_encoding(request)
    said = hdrs.CONTENT_TYPE in request.headers
    form = said and request.content_type == "application/x-www-form-urlencoded"
    if said and not form and not _JSON.fullmatch(request.content_type):
        raise Problem("unsupported-media-type", f"send application/json, not {request.content_type}")
    body = await _read(request)
    if not body.strip():
        return None
    return forms.parse(body) if form and body.lstrip()[:1] not in (b"{", b"[") else parse(body)


async def _read(request: web.Request) -> bytes:
    try:
        if request.content.is_eof():  # it came with its head, as most do
            return await request.read()
        async with asyncio.timeout(SECONDS):
            return await request.read()
    except TimeoutError:
        raise Problem("timeout", f"nothing more came for {SECONDS} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Problem("bad-request", "the body cannot be read to its end") from None


def check_encoding(request: web.Request) -> None:
    """Raises Problem for a body that is packed: it is not unpacked here."""
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None and encoding.strip().lower() != "identity":
        raise Problem("unsupported-media-type", f"send the body as it is, not as {encoding}")


def parse(body: bytes) -> Any:
    """What a JSON text means.

    Raises Problem for what is not JSON, and for what could not be stored and given back as it came: NUL characters,
    lone surrogates, whole numbers beyond 64 bits, numbers beyond a double, and nesting deeper than 64 levels.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error) or "recursion" in str(error):
            raise Problem("malformed", f"nested deeper than {DEEPEST} levels") from None
        raise Problem("bad-request", f"the body is not JSON: {error}") from None
    if len(body) > 2 * DEEPEST and body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(value)
    if b"\\u0000" in body:
        _check_text(value)
    if _LONG_NUMBER in body.translate(_DIGITS):
        # orjson reads a whole number beyond 64 bits as a double; the standard library shows it as it was written.
        json.loads(body, parse_int=_check_number)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    raise Problem("malformed", f"nested deeper than {DEEPEST} levels")


def _check_text(value: Any) -> None:
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise Problem("malformed", "a text contains the character NUL, which cannot be stored")
        elif isinstance(item, dict):
            rest.extend(item.keys())
            rest.extend(item.values())
        elif isinstance(item, list):
            rest.extend(item)


def _check_number(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise Problem("malformed", f"the whole number {text[:24]}{'…' if len(text) > 24 else ''} is beyond 64 bits")
    return 0
