"""Given a key, or none, when somebody asks, then they may do what the key's scope allows, in its account only."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from jobstore.web.app import NATIVE
from tests.conftest import Client
from tests.web.conftest import together
from tests.web.wire import NDJSON, exchange, head, key_of

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
CLOSED = [route for route in NATIVE if route.path not in OPEN]


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@together
@pytest.mark.parametrize(
    "spelled",
    [
        lambda key: b"Bearer " + key,
        lambda key: b"bearer " + key,
        lambda key: b"BEARER   " + key + b"  ",
        lambda key: basic(b"anybody:" + key),
        lambda key: basic(b":" + key),
        lambda key: basic(key),
        lambda key: basic(key + b":"),
        lambda key: b"basic " + base64.b64encode(b"a:" + key),
    ],
)
async def test_a_key_is_taken_as_bearer_or_as_password(shared: Client, spelled: Callable[[bytes], bytes]) -> None:
    key = (await key_of(shared)).encode()
    status, _, answer = await exchange(shared, "GET /jobs", [("Authorization", spelled(key))])
    assert (status, "jobs" in json.loads(answer)) == (200, True)


@together
@pytest.mark.parametrize(
    "spelled",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"Bearer",
        lambda _: b"Bearer ",
        lambda key: key,
        lambda key: b"Token " + key,
        lambda key: b"Digest username=" + key,
        lambda key: b"Bearer:" + key,
        lambda key: b"Bearer " + key.upper(),
        lambda key: b"Bearer " + key[:-1],
        lambda key: b"Bearer " + key + b"0",
        lambda key: b"Bearer " + key[:-1] + (b"0" if key[-1:] != b"0" else b"1"),
        lambda key: b"Bearer " + key + b", Bearer " + key,
        lambda _: b"Bearer jsk_0123456789ab_" + b"0" * 40,
        lambda _: b"Bearer jsk_" + b"%00" * 12 + b"_" + b"0" * 40,
        lambda key: b"Bearer " + key[:-1] + b"\xff",
        lambda _: b"Bearer \xff\xfe",
        lambda _: b"Bearer " + b"x" * 8000,
        lambda _: b"Basic",
        lambda _: b"Basic not-base64!",
        lambda _: b"Basic \xff",
        lambda _: basic(b"\xff\xfe\x00"),
        lambda _: basic(b""),
        lambda _: basic(b":"),
        lambda key: basic(key + b":wrong"),
        lambda key: basic(b"a:b:" + key),
        lambda key: b"Basic " + key,
    ],
)
async def test_whoever_has_no_key_is_told_how_to_send_one(
    shared: Client, spelled: Callable[[bytes], bytes | None]
) -> None:
    header = spelled((await key_of(shared)).encode())
    answers = set()
    for route in CLOSED:
        for id in ("1", "999"):
            type = NDJSON if route.path == "/events" else "application/json"
            sent = [("Content-Type", type.encode()), ("Authorization", header if header is not None else b"")]
            path = route.path.replace("{id}", id)
            if header is None:
                response = await shared.http.request(route.method, path, data=b"", headers={"Content-Type": type})
                status, headers, answer = response.status, response.headers, await response.read()
                named = {name.lower(): value for name, value in headers.items()}
            else:
                status, named, answer = await exchange(shared, f"{route.method} {path}", sent)
            assert (status, named["content-type"]) == (401, "application/problem+json"), route
            assert named["www-authenticate"] == 'Basic realm="jobstore", Bearer realm="jobstore"'
            answers.add(answer)
    assert len(answers) == 1, "who may not ask learns nothing of what is there"


@pytest.mark.parametrize(("scope", "writes"), [("read", False), ("write", True), ("admin", True)])
async def test_a_scope_says_what_a_key_may_do(client: Client, scope: Any, writes: bool) -> None:
    await client.submit()
    client.keys["acme"] = (await client.store.accounts.create_key("acme", scope))[1]
    for path in ("/jobs", "/jobs/1", "/jobs/1/events", "/events"):
        assert (await client.ask("GET", path)).status == 200
    line = b'{"job": 1, "type": "annotated", "note": "x"}\n'
    for path, body, type in (
        ("/jobs", b'{"kind": "x"}', "application/json"),
        ("/jobs/1/events", b'{"type": "started"}', "application/json"),
        ("/jobs/999/events", b"nonsense", "application/json"),
        ("/events", line, NDJSON),
    ):
        response = await client.ask("POST", path, data=body, headers={"Content-Type": type})
        if writes:
            assert response.status in (200, 202, 400)
        else:
            assert (response.status, response.content_type) == (403, "application/problem+json")
            assert scope in (await response.json())["detail"]
    assert await head(client) == (4 if writes else 1)


async def test_a_revoked_key_is_refused_a_second_later(client: Client, until: Callable[..., Any]) -> None:
    await client.submit()
    key, client.keys["acme"] = await client.store.accounts.create_key("acme", "write")
    assert (await client.report(1, {"type": "started"})).status == 200
    await client.store.accounts.revoke(key.key_id)
    began = time.monotonic()

    async def refused() -> bool:
        return bool((await client.ask("GET", "/jobs/1")).status == 401)

    await until(refused)
    assert time.monotonic() - began < 1.5
    assert (await client.report(1, {"type": "failed"})).status == 401
    assert await head(client) == 2


async def test_a_key_speaks_for_its_account_only(client: Client) -> None:
    await client.submit("theirs", user="ann")
    await client.ask("POST", "/jobs", account="rival", json={"kind": "ours"})
    for account, kind in (("acme", "theirs"), ("rival", "ours")):
        listed = (await (await client.ask("GET", "/jobs", account=account)).json())["jobs"]
        assert [(job["number"], job["kind"]) for job in listed] == [(1, kind)]
        log = (await (await client.ask("GET", "/events", account=account)).json())["events"]
        assert [(event["position"], event["by"].split("/")[0]) for event in log] == [(1, account)]


@together
@pytest.mark.parametrize("path", sorted(OPEN))
async def test_what_surroundings_ask_needs_no_key_and_tells_nothing_of_jobs(shared: Client, path: str) -> None:
    await shared.submit("a secret kind", user="ann")
    response = await shared.http.request("GET", path)
    text = await response.text()
    assert response.status == 200
    assert "secret" not in text
    assert "acme" not in text
