"""Knows how a request names its key: `Bearer KEY`, or Basic with the key as password (RFC 6750, RFC 7617)."""

import binascii
from base64 import b64decode
from typing import Final

from aiohttp import hdrs, web

from jobstore.store.accounts import Gate, Principal, Scope
from jobstore.web.problems import Problem

GATE: Final = web.AppKey("gate", Gate)

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="jobstore", Basic realm="jobstore"'}


async def principal(request: web.Request, scope: Scope) -> Principal:
    """Who asks, if their key allows `scope`. Raises Problem: unauthorized, or forbidden."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        raise Problem("unauthorized", "send the header `Authorization: Bearer KEY`", headers=_CHALLENGE)
    key = key_in(header)
    found = None if key is None else await request.app[GATE].admit(key)
    if found is None:
        raise Problem("unauthorized", "this key is not known here, or was revoked", headers=_CHALLENGE)
    if not found.may(scope):
        raise Problem("forbidden", f"this needs a key of scope {scope}, and this one's is {found.scope}")
    return found


def key_in(header: str) -> str | None:
    """The key in an Authorization header, or None. Some clients send base64 of the bare key, without a colon."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer":
            return value
        case "basic":
            try:
                user, colon, password = b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return None
            return password if colon and password else user
        case _:
            return None
