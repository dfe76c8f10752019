"""Knows how a request names its key: `Bearer KEY`, or Basic with the key as password (RFC 6750, RFC 7617)."""

import binascii
from base64 import b64decode
from typing import Final

from aiohttp import hdrs, web

from jobstore.store.accounts import Gate, Principal, Scope
from jobstore.store.rates import Rates
from jobstore.web.problems import Problem
from jobstore.web.telling import ALLOWANCE, rate_fields

GATE: Final = web.AppKey("gate", Gate)
RATES: Final = web.AppKey("rates", Rates)

_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="jobstore", Bearer realm="jobstore"'}


async def principal(request: web.Request, scope: Scope, *, of_job: bool = False, free: bool = False) -> Principal:
    """Who asks, if their key allows `scope` and the account's rate one more request, which a `free` one is not.

    A key of a single job is for calls `of_job` only, which must see to it that it is that job. Raises Problem:
    unauthorized, forbidden or throttled.
    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        raise Problem("unauthorized", "send the header `Authorization: Bearer KEY`", headers=_CHALLENGE)
    key = key_in(header)
    found = None
    if key is not None:
        gate = request.app[GATE]
        found = gate.remember(key) or await gate.admit(key)
    if found is None:
        raise Problem("unauthorized", "this key is not known here, or was revoked", headers=_CHALLENGE)
    if not found.may(scope):
        raise Problem("forbidden", f"this needs a key of scope {scope}, and this one's is {found.scope}")
    if found.job is not None and not of_job:
        raise Problem("forbidden", "this key is for a single job")
    if found.rate is not None:
        await _take(request, found, free=free)
    return found


async def _take(request: web.Request, who: Principal, *, free: bool) -> None:
    """Count this request."""
    allowance = await request.app[RATES].take(who, free=free)
    if allowance is None:
        return
    request[ALLOWANCE] = allowance
    if not allowance.granted:
        headers = {"Retry-After": str(allowance.reset), **rate_fields(allowance)}
        raise Problem("throttled", f"try again in {allowance.reset} s", headers=headers)


def key_in(header: str) -> str | None:
    """The key in an Authorization header, or None. Some clients send base64 of the bare key, without a colon."""
    if header.startswith("Bearer "):  # as almost everybody writes it
        return header[7:].strip()
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
