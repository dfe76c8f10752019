"""Knows what is answered at an address, or to a method, that nothing else answers."""

from typing import Final

from aiohttp import hdrs, web


async def methods(request: web.Request) -> set[str]:
    """The methods that the address has. None: there is nothing there."""
    found = [(await resource.resolve(request))[1] for resource in request.app.router.resources()]
    return set().union(*found) - {hdrs.METH_ANY}


async def nowhere(request: web.Request) -> web.StreamResponse:
    """Raises HTTPMethodNotAllowed, or HTTPNotFound."""
    allowed = await methods(request)
    raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound()


ROUTE: Final = web.route(hdrs.METH_ANY, "/{path:(?s:.*)}", nowhere)  # to be added last
