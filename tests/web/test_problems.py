"""Given that something goes wrong with the server, when a client asks, then it hears so and never a half truth."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest

from jobstore.formats import FORMATS
from jobstore.formats.contract import Format
from jobstore.store import Store
from jobstore.store.history import Entry
from jobstore.store.postgres import Unavailable
from jobstore.web.app import NATIVE
from jobstore.web.telling import owner
from tests.conftest import Client
from tests.web.wire import NDJSON, exchange, key_of


@pytest.mark.parametrize(
    ("failure", "status"), [(Unavailable("Postgres does not answer"), 503), (ZeroDivisionError("a secret"), 500)]
)
async def test_a_failure_is_told_without_its_insides(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int
) -> None:
    await client.submit()

    async def fail(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(store.views, "where", fail)
    monkeypatch.setattr(store.ledger, "append", fail)
    monkeypatch.setattr(store.jobs, "page", fail)
    for method, path, body in (
        ("GET", "/jobs/1", None),
        ("GET", "/jobs", None),
        ("GET", "/jobs/1/events", None),
        ("POST", "/jobs", {"kind": "x"}),
        ("POST", "/jobs/1/events", {"type": "started"}),
    ):
        response = await client.ask(method, path, json=body)
        problem = await response.json()
        assert (response.status, response.content_type) == (status, "application/problem+json"), path
        assert problem["status"] == status
        assert "secret" not in json.dumps(problem)
        assert (response.headers.get("Retry-After") is not None) == (status == 503)
    monkeypatch.undo()
    assert (await client.report(1, {"type": "started"})).status == 200


@pytest.mark.parametrize("failure", [Unavailable("Postgres does not answer"), ZeroDivisionError("a secret")])
async def test_a_history_that_breaks_off_does_not_look_complete(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    job = await client.submit()
    await client.report(job, *({"type": "annotated", "note": str(n)} for n in range(1500)))
    for name in ("of_account", "of_job"):
        read: Any = getattr(store.history, name)

        async def break_off(*args: Any, after: int = 0, read: Any = read, **more: Any) -> list[Entry]:
            if after > 0:
                raise failure
            page: list[Entry] = await read(*args, after=after, **more)
            return page

        monkeypatch.setattr(store.history, name, break_off)
    for path in ("/events", f"/jobs/{job}/events"):
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(5):
                await client.ask("GET", path, headers={"Accept": NDJSON})
        try:
            _, _, body = await exchange(client, f"GET {path}", [("Accept", NDJSON.encode())])
        except ConnectionError:
            continue
        assert b"HTTP/1.1" not in body, "one answer is not written into another"
        assert not body.endswith(b"0\r\n\r\n"), "that would be its proper end"


async def test_who_stops_reading_a_history_is_no_failure_of_the_server(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    job = await client.submit()
    for n in range(4):
        await client.report(job, *({"type": "annotated", "note": f"{n} {m}".ljust(300)} for m in range(2000)))
    key = await key_of(client)
    before = asyncio.all_tasks()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.port, limit=2**10)
    writer.write(
        f"GET /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\nAccept: {NDJSON}\r\n\r\n".encode()
    )
    await reader.readuntil(b"annotated")
    serving = asyncio.all_tasks() - before
    writer.transport.abort()
    async with asyncio.timeout(10):
        await asyncio.gather(*serving, return_exceptions=True)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_every_call_of_a_format_is_under_its_prefixes_and_no_native_one_is(format: Format[Any]) -> None:
    for call in format.calls:
        for path in call.paths:
            assert owner(re.sub(r"\{\w+\}", "acme", path)) is format
    for route in NATIVE:
        assert owner(route.path.replace("{id}", "1")) is None
