"""Knows the native calls about checkpoints; what they say and who signs them is known to `store.checkpoints`."""

from aiohttp import web

from jobstore.web.credentials import principal
from jobstore.web.naming import STORE


async def latest(request: web.Request) -> web.Response:
    """GET /checkpoint"""
    who = await principal(request, "read")
    return _text(await request.app[STORE].checkpoints.now(who.account_id))


async def verifier(request: web.Request) -> web.Response:
    """GET /checkpoint/key"""
    who = await principal(request, "read")
    return _text(f"{await request.app[STORE].checkpoints.verifier(who.account_id)}\n")


def _text(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/plain", charset="utf-8")
