"""Knows in whose words a failure is told: those of the vendor whose address was asked, or else the native ones."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from jobstore.formats import FORMATS
from jobstore.formats.contract import Failure, Format, Quota, Reply
from jobstore.store.rates import Allowance
from jobstore.web.problems import explain

ALLOWANCE: Final = web.RequestKey("allowance", Allowance)  # what is left of its account's rate

# Names in a prefix match one segment; what begins with one is looked at last.
_PREFIXES: Final = sorted(
    (
        (re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in _parts)), format)
        for format in FORMATS.values()
        for prefix in format.prefixes
        for _parts in (re.split(r"(\{[^}]*\})", prefix),)
    ),
    key=lambda entry: entry[0].pattern.startswith("/[^"),
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def telling(handler: Handler) -> Handler:
    """A handler that turns whatever `handler` raises into an answer.

    It is no middleware: with any of those, aiohttp looks up for each request how they were put together, and says
    before and after each which app is the current one.
    """

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            if isinstance(error, web.HTTPException) and error.status < 400:
                raise
            format = owner(request.path)
            if format is None:
                return explain(error).response()
            return respond(format.fail(failure(error)))

    return told


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Put on an answer what stands on every one: the rate, and no word of which releases of which libraries made it."""
    response.headers["Server"] = "jobstore"
    allowance, format = request.get(ALLOWANCE), owner(request.path)
    if format is not None:
        quota = None if allowance is None else Quota(allowance.limit, allowance.remaining, allowance.reset)
        response.headers.update(format.limits(quota))
    elif allowance is not None:
        response.headers.update(rate_fields(allowance))


def rate_fields(allowance: Allowance) -> dict[str, str]:
    """The RateLimit header fields (draft-ietf-httpapi-ratelimit-headers)."""
    return {
        "RateLimit-Policy": f'"account";q={allowance.limit};w={allowance.seconds}',
        "RateLimit": f'"account";r={allowance.remaining};t={allowance.reset}',
    }


def respond(reply: Reply) -> web.Response:
    """A vendor's answer as HTTP."""
    headers = dict(reply.headers)
    if reply.body:
        headers.setdefault("Content-Type", "application/json")
    return web.Response(status=reply.status, body=reply.body or None, headers=headers)


def failure(error: Exception) -> Failure:
    """What a vendor's client is to be told of an error."""
    if isinstance(error, Failure):
        return error
    problem = explain(error)
    name = _NAMES.get(problem.name, problem.name)
    seconds = int(problem.headers.get("Retry-After", "1"))
    return Failure(name, problem.detail, seconds=seconds, allow=problem.headers.get("Allow", ""))


_NAMES: Final = {"gone": "not-found", "not-reached": "malformed", "key-reused": "malformed"}


def owner(path: str) -> Format[Any] | None:
    """The format in whose words is told what becomes of requests to this address."""
    return next((format for prefix, format in _PREFIXES if prefix.match(path)), None)
