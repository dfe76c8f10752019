"""Given many events as lines, when they are posted, then each is recorded or refused by itself, in bounded memory."""

import json
from typing import Any

import pytest

from jobstore.web.bodies import MOST
from tests.conftest import Client
from tests.web.wire import NDJSON, Talk, bulk, head

STARTED: dict[str, Any] = {"job": 1, "type": "started"}


def note(text: str, job: Any = 1, **more: Any) -> dict[str, Any]:
    return {"job": job, "type": "annotated", "note": text, **more}


def padded(line: dict[str, Any], size: int) -> bytes:
    """The line, of so many bytes without its end."""
    text = json.dumps(line).encode()
    return text[:-1] + b" " * (size - len(text)) + b"}\n"


async def test_a_line_is_answered_with_a_line_in_order(client: Client) -> None:
    job, other = await client.submit(), await client.submit()
    uid = (await (await client.ask("GET", f"/jobs/{other}")).json())["id"]
    answers = await bulk(client, STARTED, note("x", other), STARTED, note("y", uid), note("z"))
    assert answers == [
        {"line": 1, "status": 200, "job": job, "version": 2, "position": 3, "recorded": 1},
        {"line": 2, "status": 200, "job": other, "version": 2, "position": 4, "recorded": 1},
        {"line": 3, "status": 200, "job": job, "version": 2, "position": 3, "recorded": 0},
        {"line": 4, "status": 200, "job": other, "version": 3, "position": 5, "recorded": 1},
        {"line": 5, "status": 200, "job": job, "version": 3, "position": 6, "recorded": 1},
    ]
    log = (await (await client.ask("GET", "/events?after=2")).json())["events"]
    assert [(event["position"], event["type"], event["data"]) for event in log] == [
        (3, "started", {}),
        (4, "annotated", {"note": "x"}),
        (5, "annotated", {"note": "y"}),
        (6, "annotated", {"note": "z"}),
    ]


BAD: list[tuple[bytes, int]] = [
    (b'{"job": 1, "type": "started"', 400),
    (b"\xff", 400),
    (b"7", 422),
    (b"[]", 422),
    (b"null", 422),
    (b'[{"job": 1, "type": "started"}]', 422),
    (b'{"type": "started"}', 422),
    (b'{"job": 1}', 422),
    (b'{"job": 1, "type": "queued", "uid": "x", "kind": "y"}', 422),
    (b'{"job": 1, "type": "begun"}', 422),
    (b'{"job": 1, "type": "started", "colour": "red"}', 422),
    (b'{"job": 1, "type": "annotated", "note": "\\u0000"}', 422),
    (b'{"job": 1, "type": "annotated", "data": {"n": 18446744073709551616}}', 422),
    (b'{"job": 1, "type": "annotated", "data": ' + b'{"a":' * 70 + b"1" + b"}" * 71, 422),
    (b'{"job": 1, "type": "annotated", "note": "x", "idempotency_key": 7}', 422),
    (b'{"job": 1, "type": "annotated", "note": "x", "idempotency_key": ""}', 400),
    (b'{"job": 1, "type": "removed"}', 409),
    (b'{"job": 1, "type": "completed", "results": ' + b"1" * 300 + b"}", 422),
    *((b'{"job": %s, "type": "started"}' % id, 404) for id in
      (b"2", b"0", b"-1", b"9223372036854775807", b"18446744073709551615", b"1.0", b"true", b"null", b'""', b'"abc"',
       b"[1]", b'"018f3b6f78157eaa8000000000000001"', b'"01_8f3b6f78157eaa800000000000001"')),
    (padded(note("x"), MOST + 1)[:-1], 413),
]  # fmt: skip


async def test_a_bad_line_refuses_itself_only(client: Client) -> None:
    await client.submit()
    lines: list[dict[str, Any] | bytes] = [STARTED]
    for n, (line, _) in enumerate(BAD):
        lines += [line + b"\n", note(f"good {n}")]
    answers = await bulk(client, *lines)
    assert [answer["line"] for answer in answers] == list(range(1, len(lines) + 1))
    assert [(line[:80], answer["status"]) for (line, _), answer in zip(BAD, answers[1::2], strict=True)] == [
        (line[:80], status) for line, status in BAD
    ]
    for answer in answers[1::2]:
        assert answer.keys() >= {"line", "type", "title", "status", "detail"}
    assert [answer["status"] for answer in answers[::2]] == [200] * (len(BAD) + 1)
    history = (await (await client.ask("GET", "/jobs/1/events?after=2&limit=1000")).json())["events"]
    assert [event["data"]["note"] for event in history] == [f"good {n}" for n in range(len(BAD))]


@pytest.mark.parametrize("size", [1, 2, 7, 4096, MOST, 3 * MOST])
async def test_how_the_bytes_are_cut_makes_no_difference(client: Client, size: int) -> None:
    await client.submit()
    sent = b"\n\r\n" + json.dumps(STARTED).encode() + b"\r\n\n   \n" + json.dumps(note("é")).encode() + b"\n"
    if size >= 4096:
        sent += padded(note("just"), MOST) + padded(note("over"), MOST + 1) + padded(note("far over"), 3 * MOST)
    sent += json.dumps(note("no end of line")).encode()
    answers = await bulk(client, *(sent[at : at + size] for at in range(0, len(sent), size)))
    assert [answer["status"] for answer in answers] == ([200] * 3 if size < 4096 else [200, 200, 200, 413, 413, 200])
    history = (await (await client.ask("GET", "/jobs/1/events?after=2")).json())["events"]
    texts = ["é", "no end of line"] if size < 4096 else ["é", "just", "no end of line"]
    assert [event["data"]["note"] for event in history] == texts


async def test_each_line_is_answered_while_the_body_goes_on(client: Client) -> None:
    await client.submit()
    async with Talk(client) as talk:
        talk.send(STARTED)
        for n in range(20):
            assert (await talk.answer())["position"] == 2 + n
            assert await head(client) == 2 + n, "an answer means that it is recorded"
            talk.send(note(str(n)))
        talk.end()
        assert len(await talk.answers()) == 1


async def test_a_line_with_an_idempotency_key_counts_once(client: Client) -> None:
    await client.submit()
    line = note("x", idempotency_key="a")
    first, again, other, changed, _ = await bulk(
        client, line, line, note("x", idempotency_key="b"), note("y", idempotency_key="a"), STARTED
    )
    assert (first["position"], again | {"line": 1}) == (2, first)
    assert (other["status"], other["recorded"]) == (200, 0), "saying what is already so"
    assert (changed["status"], changed["type"]) == (422, "urn:jobstore:problem:key-reused")
    (later,) = await bulk(client, line)
    assert later == first
    assert await head(client) == 3


@pytest.mark.parametrize(("type", "status"), [("application/json", 415), ("text/plain", 415), (NDJSON, 200)])
async def test_the_body_is_lines(client: Client, type: str, status: int) -> None:
    response = await client.ask("POST", "/events", data=b"", headers={"Content-Type": type})
    assert (response.status, await response.read() == b"") == (status, status == 200)


async def test_a_body_that_is_packed_is_not_read(client: Client) -> None:
    await client.submit()
    headers = {"Content-Type": NDJSON, "Content-Encoding": "gzip"}
    response = await client.ask("POST", "/events", data=b"this is not gzip", headers=headers)
    assert (response.status, response.content_type) == (415, "application/problem+json")
    assert (await client.report(1, {"type": "started"})).status == 200


async def test_a_key_for_the_whole_body_is_refused_not_ignored(client: Client) -> None:
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "a"}
    response = await client.ask("POST", "/events", data=b"", headers=headers)
    assert (response.status, response.content_type) == (400, "application/problem+json")
