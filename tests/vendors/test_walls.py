"""Every call of every vendor, asked wrongly: told in that vendor's words, and nothing of other accounts."""

from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from jobstore.formats import FORMATS
from jobstore.formats.contract import Act, Call, Format, Index, Limits, Poll, Starter
from jobstore.job.projection import Audience
from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at

CALLS = [
    pytest.param(format, call, path, id=f"{format.name} {call.method} {path}")
    for format in FORMATS.values()
    for call in format.calls
    for path in call.paths
]
OF_A_JOB = [case for case in CALLS if "{id}" in str(case.values[2])]
WITH_A_BODY = [case for case in CALLS if isinstance(case.values[1], Act | Starter)]
WRONG_BODIES: list[tuple[str, bytes]] = [
    *product(
        ("application/json", "application/x-www-form-urlencoded"),
        (b"{", b"[]", b"[1]", b"{}", b'{"a": {"b": []}}', b'"text"', b"\xff\xfe", b"[" * 5000, b'{"a": "\\u0000"}'),
    ),
    ("application/json", b""),
    ("application/json", b"null"),
    ("application/x-www-form-urlencoded", b"a[b]=1&a=2"),
    ("application/x-www-form-urlencoded", b"%00=%00"),
    ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % i for i in range(1001))),
    ("text/plain", b"{}"),
    ("application/xml", b"<a/>"),
]


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


def spell(path: str, id: str, account: str = "acme") -> str:
    """The path with its names filled in."""
    for name, value in (("id", id), ("account", account), ("owner", account)):
        path = path.replace(f"{{{name}}}", value)
    while "{" in path:
        path = path[: path.index("{")] + "7" + path[path.index("}") + 1 :]
    return path


async def id_of(client: Client, format: Format[Any], account: str) -> str:
    """The id, in the format, of a new job of an account."""
    response = await client.ask("POST", "/jobs", account=account, json={"kind": "a", "format": format.name})
    assert response.status == 202, await response.text()
    location: str = response.headers["Location"]
    return location.rsplit("/", 1)[1].removesuffix(".json")


async def told(format: Format[Any], response: Any) -> tuple[int, bytes]:
    """The status and the body of a failure in the format's words."""
    body = await response.read()
    assert 400 <= response.status < 500, (response.status, body)
    Draft202012Validator(format.failure).validate(orjson.loads(body))
    return response.status, body


@pytest.mark.parametrize(("format", "call", "path"), OF_A_JOB)
async def test_a_job_of_another_account_is_no_job(
    format: Format[Any], call: Call[Any], path: str, client: Client
) -> None:
    await id_of(client, format, "acme")
    theirs = [await id_of(client, format, "other") for _ in range(2)][-1]  # acme has only one
    nowhere = format.location(987_654, "f" * 32, Audience()).rsplit("/", 1)[1].removesuffix(".json")
    answers = [
        await told(format, await client.ask(call.method, spell(path, id), json={}))
        for id in (theirs, nowhere, "!", "ü")
    ]
    assert {status for status, _ in answers} == {404}
    assert len({body for _, body in answers}) == 1


@pytest.mark.parametrize(("format", "call", "path"), CALLS)
async def test_nobody_is_let_in_without_a_key(format: Format[Any], call: Call[Any], path: str, client: Client) -> None:
    own = await id_of(client, format, "acme")
    wrong = (
        "",
        "Bearer",
        "Bearer x",
        "Basic",
        "Basic ü",
        "Basic eDp5",
        "Digest x",
        f"Bearer jsk_{'0' * 12}_{'0' * 40}",
    )
    answers = set()
    for header in wrong:
        response = await client.ask(call.method, spell(path, own), headers={"Authorization": header})
        status, body = await told(format, response)
        assert status == 401
        assert response.headers["WWW-Authenticate"]
        answers.add(body)
    assert len(answers) == 1


@pytest.mark.parametrize(("format", "call", "path"), CALLS)
async def test_a_key_that_may_only_read_cannot_write(
    format: Format[Any], call: Call[Any], path: str, client: Client
) -> None:
    own = await id_of(client, format, "acme")
    _, key = await client.store.accounts.create_key("acme", "read")
    response = await client.ask(call.method, spell(path, own), headers={"Authorization": f"Bearer {key}"})
    if not isinstance(call, Poll | Index | Limits) and call.method != "GET":
        assert (await told(format, response))[0] == 403


@pytest.mark.parametrize(("format", "call", "path"), CALLS)
async def test_what_the_address_does_not_take_is_refused_in_the_vendors_words(
    format: Format[Any], call: Call[Any], path: str, client: Client
) -> None:
    own = await id_of(client, format, "acme")
    status, _ = await told(format, await client.ask("PROPFIND", spell(path, own)))
    assert status == 405
    status, _ = await told(format, await client.ask("GET", spell(path, own) + "/nowhere/at/all"))
    assert status == 404


@pytest.mark.parametrize(("format", "call", "path"), WITH_A_BODY)
async def test_no_body_breaks_the_server(format: Format[Any], call: Call[Any], path: str, client: Client) -> None:
    for kind, body in WRONG_BODIES:
        own = await id_of(client, format, "acme")
        response = await client.ask(call.method, spell(path, own), data=body, headers={"Content-Type": kind})
        if response.status >= 300:
            await told(format, response)
        elif call.takes is not None and "required" in call.takes:
            raise AssertionError(f"{body!r} was taken for {call.takes}")


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
async def test_another_accounts_address_is_nowhere(format: Format[Any], client: Client) -> None:
    for call in format.calls:
        for path in call.paths:
            if "{account}" in path:
                own, _ = await id_of(client, format, "acme"), await id_of(client, format, "other")
                theirs = await told(format, await client.ask(call.method, spell(path, own, "other"), json={}))
                nobodys = await told(format, await client.ask(call.method, spell(path, own, "nobody"), json={}))
                assert theirs == nobodys
                assert theirs[0] == 404
