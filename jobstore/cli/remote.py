"""Knows how a running server is followed over HTTP, and how to come back to it; must not know how that is shown.

A connection that is lost, or ended by the server, is made again from the last position that was heard of. So a restart
of the server is nothing that its readers notice, except on stderr when it takes long.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

import aiohttp
import click
import orjson

from jobstore.cli.eventstream import Event, Parser
from jobstore.cli.lines import printable
from jobstore.store.accounts import Mistaken
from jobstore.web.frames import MEDIA_TYPE

SILENCE: Final = 45.0  # seconds without a heartbeat, of which there is one every 15, after which a connection is lost
LONGEST: Final = 30.0  # seconds between attempts
_SHORTEST: Final = 1.0

_PASSING: Final = frozenset((408, 429, 500, 502, 503, 504))
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE)


class Server(NamedTuple):
    """A server that answers at `url`, which ends without a slash, and a key that it knows."""

    url: str
    key: str


class _Away(Exception):
    """The server cannot answer now."""


async def events(
    server: Server, path: str, query: Sequence[tuple[str, str]], after: int | None
) -> AsyncGenerator[Event]:
    """What a feed tells above the position `after`, or else from now on, each event once, in order, until it is over.

    Raises Mistaken when the server refuses, or cannot be reached at first.
    """
    last = "" if after is None else str(after)
    met = away = False
    pause = _SHORTEST
    headers = {"Authorization": f"Bearer {server.key}", "Accept": MEDIA_TYPE}
    async with aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as session:
        while True:
            heard = False
            try:
                resume = {"Last-Event-ID": last} if last else {}
                async with session.get(server.url + path, params=query, headers=resume) as response:
                    if response.status == 204:
                        return
                    await _check(server, response)
                    if away:
                        click.echo(f"{server.url} is back", err=True)
                    met, heard, away, pause = True, True, False, _SHORTEST
                    parser = Parser(last)
                    async for data in response.content.iter_any():
                        for event in parser.feed(data):
                            match event.type:
                                case "end":
                                    return
                                case "gap":
                                    click.echo(f"no longer kept: {printable(event.data.decode())}", err=True)
                                case _:
                                    yield event
                        last = parser.last_event_id
                        if parser.retry is not None:
                            pause = min(LONGEST, max(_SHORTEST, parser.retry / 1000))
            except (aiohttp.ClientError, OSError, TimeoutError, _Away) as error:
                if not met:
                    hint = "" if isinstance(error, _Away) else "; is a server running there?"
                    raise Mistaken(f"cannot follow {server.url}: {_why(error)}{hint}") from error
                if not heard and not away:
                    click.echo(f"{server.url} is away: {_why(error)}; going on when it is back", err=True)
                    away = True
            await asyncio.sleep(pause)
            if not heard:
                pause = min(LONGEST, pause * 2)


async def _check(server: Server, response: aiohttp.ClientResponse) -> None:
    """Raises _Away or Mistaken when the answer is not a feed."""
    if response.status == 200 and response.content_type == MEDIA_TYPE:
        return
    why = await _detail(response)
    if response.status in _PASSING:
        raise _Away(why)
    hint = "; `jobstore key create ACCOUNT` makes a key" if response.status == 401 else ""
    raise Mistaken(f"{server.url} refuses: {why}{hint}")


async def _detail(response: aiohttp.ClientResponse) -> str:
    """What the server says, or what can be said of it."""
    if response.content_type == "application/problem+json":
        try:
            return printable(str(orjson.loads(await response.read())["detail"]))
        except (ValueError, LookupError, TypeError):
            pass
    return printable(f"it answers {response.status} with {response.content_type}, as no jobstore does")


def _why(error: Exception) -> str:
    """One line about a failure, in the system's words where it has some."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(str(text).splitlines()[0])
