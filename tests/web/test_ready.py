"""Given answers that were made ready before, when any HTTP client asks, then it cannot tell them from others."""

import asyncio
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

from tests.conftest import Client
from tests.web.wire import PATIENCE, key_of

Asked = tuple[str, str, dict[str, str]]


async def ask(client: Client, *requests: Asked) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers to requests on one connection, as the standard library reads them."""
    key = await key_of(client)
    port = client.http.port

    def talk() -> list[tuple[int, dict[str, str], bytes]]:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        answers = []
        connection.connect()
        socket = connection.sock
        for method, path, headers in requests:
            connection.request(method, path, headers={"Authorization": f"Bearer {key}", **headers})
            response = connection.getresponse()
            answers.append((response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()))
        assert connection.sock in (socket, None), "the connection was kept"
        connection.close()
        return answers

    return await asyncio.to_thread(talk)


async def test_one_connection_serves_many_polls_of_every_kind(client: Client) -> None:
    await client.submit(args={"a": "x" * 300_000})
    seen = {"If-None-Match": '"1"'}
    answers = await ask(
        client,
        ("GET", "/jobs/1", {}),
        ("GET", "/jobs/1", seen),
        ("HEAD", "/jobs/1", {}),
        ("GET", "/jobs/999", {}),
        ("HEAD", "/jobs/1", seen),
        ("GET", "/jobs/1?at=1", {}),
        ("GET", "/jobs/1", {"Prefer": "wait=1"}),
        ("GET", "/jobs/1", {"Connection": "close"}),
    )
    assert [status for status, _, _ in answers] == [200, 304, 200, 404, 304, 200, 200, 200]
    whole = answers[0][2]
    assert len(whole) > 300_000
    assert [body for _, _, body in answers] == [whole, b"", b"", answers[3][2], b"", whole, whole, whole]
    for status, headers, _ in answers:
        if status in (200, 304):
            assert (headers["etag"], headers["jobstore-position"]) == ('"1"', "1")
        if status == 200:
            assert (headers["content-type"], headers["content-length"]) == ("application/json", str(len(whole)))
        assert "date" in headers
    assert answers[-1][1]["connection"] == "close"


async def test_what_was_made_ready_is_never_older_than_the_job(client: Client, until: Callable[..., Any]) -> None:
    job = await client.submit()
    for version in range(2, 12):
        await client.report(job, {"type": "annotated", "note": str(version)})
        for _ in range(3):
            ((status, headers, body),) = await ask(client, ("GET", f"/jobs/{job}", {}))
            assert (status, headers["etag"]) == (200, f'"{version}"')
            assert b'"version":%d,' % version in body


async def test_requests_that_are_sent_ahead_are_answered_in_order(client: Client) -> None:
    await client.submit()
    key = await key_of(client)
    fields = f"Host: test\r\nAuthorization: Bearer {key}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.port)
    for _ in range(50):
        writer.write(f"GET /jobs/1 HTTP/1.1\r\n{fields}\r\n".encode())
        writer.write(f'GET /jobs/1 HTTP/1.1\r\n{fields}If-None-Match: "1"\r\n\r\n'.encode())
    writer.write(f"GET /nothing HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    statuses = [
        line.split(b" ")[1] for line in answer.replace(b"}HTTP", b"}\r\nHTTP").split(b"\r\n") if b"HTTP/1.1 " in line
    ]
    assert statuses == [b"200", b"304"] * 50 + [b"404"]


async def test_an_older_client_gets_the_same_and_then_the_end(client: Client) -> None:
    await client.submit()
    now = await (await client.ask("GET", "/jobs/1")).read()
    key = await key_of(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.http.port)
    writer.write(f"GET /jobs/1 HTTP/1.0\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 OK" in top
    assert b'ETag: "1"' in top
    assert body == now


async def test_no_answer_tells_which_libraries_made_it(client: Client) -> None:
    await client.submit()
    for path in ("/jobs", "/jobs/1", "/nothing", "/healthz"):
        assert (await client.ask("GET", path)).headers["Server"] == "jobstore"
