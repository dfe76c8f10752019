"""Every call of every vendor that shows something, answered as it is described."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobstore.formats import FORMATS
from jobstore.formats.contract import Call, Format, Index, Limits, Poll
from jobstore.store import Store
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
