"""Every call of every vendor that shows something, answered as it is described."""

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobstore.formats import FORMATS
from jobstore.formats.contract import Call, Format, Index, Limits, Poll
from jobstore.store import Store
from jobstore.web.openapi import describe
from tests.conftest import Client
from tests.vendors.conftest import reached_at
from tests.vendors.test_walls import id_of, spell

CALLS = [
    pytest.param(format, call, path, id=f"{format.name} {path}")
    for format in FORMATS.values()
    for call in format.calls
    if isinstance(call, Poll | Index | Limits)
    for path in call.paths
]


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, None) as client:
        yield client


@pytest.mark.parametrize(("format", "call", "path"), CALLS)
async def test_what_is_shown_is_as_described(format: Format[Any], call: Call[Any], path: str, client: Client) -> None:
    assert call.answers is not None
    schema = Draft202012Validator(call.answers, format_checker=Draft202012Validator.FORMAT_CHECKER)
    id = await id_of(client, format, "acme")
    for events in (
        [{"type": "started", "stage": "load"}, {"type": "output_produced", "output": {"id": 7, "preview": "a"}}],
        [{"type": "progressed", "fraction": 0.4}],
        [{"type": "failed", "error": {"name": ["is invalid"]}}],
    ):
        assert (await client.report(1, *events)).status == 200
        response = await client.ask("GET", spell(path, id))
        assert response.status == call.status, await response.text()
        schema.validate(await response.json())


EVERY = [
    pytest.param(format, call, path, id=f"{format.name} {call.method} {path}")
    for format in FORMATS.values()
    for call in format.calls
    for path in call.paths
]


@pytest.mark.parametrize(("format", "call", "path"), EVERY)
async def test_every_status_that_is_met_is_described(
    format: Format[Any], call: Call[Any], path: str, client: Client
) -> None:
    id = await id_of(client, format, "acme")
    address = spell(path, id)
    _, of_a_job = await client.store.accounts.create_job_key(1, 1)
    _, reader = await client.store.accounts.create_key("acme", "read")
    other = spell(path, await id_of(client, format, "acme"))
    described = describe()["paths"][path][call.method.lower()]["responses"]
    for asked, headers, body in (
        (other, {"Authorization": f"Bearer {of_a_job}"}, None),
        (address, {"Authorization": f"Bearer {reader}"}, None),
        (address, {"Authorization": "Bearer x"}, None),
        (address, {"Host": "a b"}, None),
        (address, {"Content-Type": "text/plain"}, b"x"),
        (address, {"Content-Type": "application/json"}, b"{"),
        (address, {"Content-Type": "application/json"}, BytesIO(b"x" * (2**20 + 1))),
        (address, {"Content-Type": "application/x-www-form-urlencoded"}, b"a[b]=1&a=2"),
    ):
        response = await client.ask(call.method, asked, headers=headers, data=body)
        assert str(response.status) in described, (asked, headers, response.status, sorted(described))


async def test_the_status_of_another_revision_is_described(client: Client) -> None:
    await client.store.accounts.create("later")
    await client.store.accounts.set("later", {"virtool": "5.0"})
    id = await id_of(client, FORMATS["virtool"], "later")
    record = {"state": "running", "stage": "a", "progress": 40}
    response = await client.ask("POST", f"/api/jobs/{id}/status", account="later", json=record)
    assert response.status == 201
    described = describe()["paths"]["/api/jobs/{id}/status"]["post"]["responses"]
    assert described["201"]["content"] == described["200"]["content"]
