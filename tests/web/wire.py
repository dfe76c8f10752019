"""Speaks HTTP with a test's server by hand or line by line, for what a well-behaved client would not do."""

import asyncio
import json
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tests.conftest import Client

NDJSON = "application/x-ndjson"
JSON = {"Content-Type": "application/json"}
PATIENCE = 20.0  # seconds, after which a test calls it a hang


async def key_of(client: Client, account: str = "acme") -> str:
    """The key with which `client` speaks for an account."""
    if account not in client.keys:
        await client.ask("GET", "/jobs", account=account)
    return client.keys[account]


async def head(client: Client, account: str = "acme") -> int:
    """Where the account's log ends."""
    found = await client.store.accounts.find(account)
    return found.position


async def exchange(
    client: Client, line: str, headers: list[tuple[str, bytes]], body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of the answer to a request sent as these bytes."""
    fixed = [
        ("Host", b"test"),
        ("Authorization", b"Bearer " + (await key_of(client)).encode()),
        ("Connection", b"close"),
        ("Content-Length", b"%d" % len(body)),
    ]
    given = {name for name, _ in headers}
    sent = [*((name, value) for name, value in fixed if name not in given), *headers]
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.port)
    try:
        writer.write(
            f"{line} HTTP/1.1\r\n".encode()
            + b"".join(n.encode() + b": " + v + b"\r\n" for n, v in sent)
            + b"\r\n"
            + body
        )
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip().split("\r\n")
            named = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            length = named.get("content-length")
            answer = await (reader.read() if length is None else reader.readexactly(int(length)))
    finally:
        writer.close()
    return int(first.split(" ")[1]), named, answer


class Talk:
    """A POST /events under way: lines go out one by one, answers come in one by one."""

    def __init__(self, client: Client, account: str = "acme", **headers: str) -> None:
        self._client = client
        self._account = account
        self._headers = {"Content-Type": NDJSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._asking: asyncio.Task[Any]

    async def __aenter__(self) -> Self:
        key = await key_of(self._client, self._account)
        headers = {"Authorization": f"Bearer {key}", **self._headers}
        request = self._client.http.request("POST", "/events", data=self._body(), headers=headers)
        self._asking = asyncio.ensure_future(request)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, where: TracebackType | None) -> None:
        self._asking.cancel()
        with suppress(asyncio.CancelledError):
            (await self._asking).close()

    async def response(self) -> Any:
        """The response, as soon as it begins. A client of aiohttp begins to ask with the first line."""
        async with asyncio.timeout(PATIENCE):
            return await self._asking

    def send(self, *lines: dict[str, Any] | bytes) -> None:
        """Send lines, each with its end; bytes go as they are."""
        for line in lines:
            self._lines.put_nowait(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")

    def end(self) -> None:
        """There are no more lines."""
        self._lines.put_nowait(None)

    async def answer(self) -> dict[str, Any]:
        """The next answer."""
        response = await self.response()
        async with asyncio.timeout(PATIENCE):
            line = await response.content.readline()
        assert line.endswith(b"\n"), f"the answers ended with {line!r}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def answers(self) -> list[dict[str, Any]]:
        """All answers that are left."""
        response = await self.response()
        async with asyncio.timeout(PATIENCE):
            return [json.loads(line) async for line in response.content]

    async def _body(self) -> Any:
        while (line := await self._lines.get()) is not None:
            yield line


async def bulk(client: Client, *lines: dict[str, Any] | bytes) -> list[dict[str, Any]]:
    """The answers to lines sent at once."""
    async with Talk(client) as talk:
        talk.send(*lines)
        talk.end()
        return await talk.answers()
