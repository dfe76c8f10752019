"""Given whatever a client may send, when it makes no sense, then it is told so in one way and nothing is recorded."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from jobstore.formats import native
from jobstore.store import Store
from jobstore.web import bodies
from tests.conftest import Client
from tests.web.conftest import together
from tests.web.mistakes import JSON, MISTAKES, MOST, Mistake, nested
from tests.web.wire import exchange, head


def _name(mistake: Any) -> str:
    line, headers, body, _ = mistake
    return f"{line[:60]} {body[:50]!r} {b' '.join(value for _, value in headers[-1:])[:30]!r}"


@together
@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
async def test_a_mistake_is_told_in_one_way_and_records_nothing(shared: Client, mistake: Mistake) -> None:
    line, sent, body, expected = mistake
    before = await head(shared)
    status, headers, answer = await exchange(shared, line, sent, body)
    assert (status, headers["content-type"]) == (expected, "application/problem+json"), answer[:500]
    problem = json.loads(answer)
    assert problem["status"] == expected
    assert problem["type"].startswith("urn:jobstore:problem:")
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "detail"))
    assert len(answer) < 2000, "a problem does not repeat what was sent"
    if expected == 405:
        assert headers["allow"] == dict(sent)["Expected-Allow"].decode()
    assert await head(shared) == before
    response = await shared.ask("GET", "/jobs/1")
    assert (response.status, (await response.json())["state"]) == (200, "running")


UNUSUAL: list[bytes] = [
    b'{"a": 18446744073709551615, "b": -9223372036854775808, "c": [1234567890123456789, 18446744073709551614]}',
    b'{"a": "\\\\u0000", "\\\\u0000": ["\\\\\\\\u0000"]}',
    b'{"a": "18446744073709551616", "b": "99999999999999999999999999"}',
    b'{"a": 0.1, "b": 1e22, "c": 5e-324, "d": 1.7976931348623157e308, "e": -0.0, "f": 1.0, "g": 9007199254740993}',
    b'{"a": "\\ud83d\\ude00 \\u2028 \\u007f \\u0001 \\ufffe", "": "", "\\u00e9": null, " ": [[], {}, [[]]]}',
    b'{"a": "[[[[[[[[[[{{{{{{{{{{"}',
    b'{"a": %s}' % nested(62, b'"x"'),
    b'{"a": %s}' % nested(62),
    b'{"a": [%s]}' % b",".join([b"[]"] * 1000),
    b'{"a": "%s"}' % (b"x" * (MOST - len(b'{"kind": "x", "args": {"a": ""}}'))),
]


@together
@pytest.mark.parametrize("args", UNUSUAL, ids=lambda args: args[:60].decode())
async def test_what_is_unusual_and_makes_sense_is_kept_exactly(shared: Client, args: bytes) -> None:
    before = await head(shared)
    status, _, answer = await exchange(shared, "POST /jobs", JSON, b'{"kind": "x", "args": %s}' % args)
    assert status == 202, answer[:500]
    shown, sent = json.loads(answer), json.loads(args)
    assert shown["args"] == sent
    assert json.dumps(shown["args"]) == json.dumps(sent), "a whole number stays whole, and -0.0 keeps its sign"
    (event,) = (await (await shared.ask("GET", f"/events?after={before}")).json())["events"]
    assert json.dumps(event["data"]["args"]) == json.dumps(sent)
    async with Store(shared.store.postgres.dsn) as fresh:
        where = await fresh.views.where(1, shown["number"])
        assert where is not None
        assert (await fresh.views.show(1, shown["number"], where, native.PROJECTION)).body == answer


@together
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Content-Type", b"application/json; charset=utf-8")],
        [("Content-Type", b"Application/JSON")],
        [("Content-Type", b"text/json")],
        [("Content-Type", b"application/merge-patch+json")],
        [("Content-Encoding", b"identity")],
        [("Idempotency-Key", b"x" * 255)],
        [("Idempotency-Key", b"!~{\"a\"}")],
        [("Prefer", b"\xff, wait=, respond-async")],
        [("Accept", b"text/html")],
    ],
)  # fmt: skip
async def test_a_submission_with_unusual_headers_is_accepted(shared: Client, headers: list[tuple[str, bytes]]) -> None:
    body = b'{"kind": "x", "user": "' + "😀".encode() + b'"}'
    status, _, answer = await exchange(shared, "POST /jobs", headers, body)
    assert (status, json.loads(answer)["user"]) == (202, "😀")


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.2)
    await client.submit()
    for path in ("/jobs", "/jobs/1/events"):
        status, headers, answer = await exchange(
            client, f"POST {path}", [*JSON, ("Content-Length", b"1000")], b'{"kind": "x"'
        )
        assert (status, headers["content-type"]) == (408, "application/problem+json"), answer
    assert await head(client) == 1


async def test_who_leaves_in_the_middle_of_a_body_is_no_failure_of_the_server(
    client: Client, until: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    await client.submit()
    for path in ("/jobs", "/jobs/1/events"):
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await exchange(client, f"POST {path}", [*JSON, ("Content-Length", b"1000")], b'{"kind": "x"')
        serving = asyncio.all_tasks() - before
        await until(lambda serving=serving: all(task.done() for task in serving))
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert await head(client) == 1
