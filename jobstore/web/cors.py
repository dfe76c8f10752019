"""Knows which pages of other origins may read what a browser is answered here (WHATWG Fetch, 3.2): none, unless listed.

They may read, not change. A page sends its key by itself, so nothing that the browser keeps is asked for.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from aiohttp import hdrs, web

from jobstore.web.nowhere import methods

ORIGIN: Final = web.RequestKey("origin", str)  # of the page that asks, if it may read the answer, or else nothing

_ASKED: Final = ("Authorization", "Cache-Control", "If-None-Match", "Last-Event-ID", "Prefer")
_SHOWN: Final = (
    "ETag",
    "Jobstore-Position",
    "Link",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
)
_PREFLIGHT: Final = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(_ASKED),
    hdrs.ACCESS_CONTROL_MAX_AGE: "600",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def allow(app: web.Application, origins: Collection[str]) -> None:
    """Let pages of these origins, or of all with *, read what is answered."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            asks = await _asks_to_read(request)
            may = ("*" in origins or origin in origins) and (asks or request.method == hdrs.METH_GET)
            request[ORIGIN] = origin if may else ""
            if may and asks:
                return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def say(request: web.Request, response: web.StreamResponse) -> None:
        if "*" not in origins:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if request.get(ORIGIN):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = "*" if "*" in origins else request[ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(_SHOWN)

    app.middlewares.insert(0, admit)
    app.on_response_prepare.append(say)


async def _asks_to_read(request: web.Request) -> bool:
    """Whether a browser asks on behalf of a page that wants to read something that there is."""
    return (
        request.method == hdrs.METH_OPTIONS
        and request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD) == hdrs.METH_GET
        and hdrs.METH_GET in await methods(request)
    )
