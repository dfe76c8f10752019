"""An account's rate: every request counts, whoever's words it is in, and what is left is told in those words."""

from typing import Any

import pytest

from jobstore.formats import FORMATS
from jobstore.formats.contract import Poll
from jobstore.job.projection import Audience
from tests.conftest import Client


@pytest.fixture
async def limited(client: Client) -> int:
    """A job of an account that may ask twice a day."""
    job = await client.submit()
    await client.store.accounts.set("acme", {"rate": "2/day"})
    client.keys["acme"] = (await client.store.accounts.create_key("acme", "admin"))[1]  # which nobody remembers yet
    return job


async def test_what_is_left_is_told_and_what_is_too_much_is_refused(client: Client, limited: int) -> None:
    left = []
    for _ in range(2):
        response = await client.ask("GET", f"/jobs/{limited}")
        assert response.status == 200
        assert response.headers["RateLimit-Policy"] == '"account";q=2;w=86400'
        left.append(response.headers["RateLimit"].split(";")[1])
    assert left == ["r=1", "r=0"]
    response = await client.ask("GET", f"/jobs/{limited}")
    assert response.status == 429
    assert (await response.json())["type"] == "urn:jobstore:problem:throttled"
    assert 0 < int(response.headers["Retry-After"]) <= 86_400
    assert response.headers["RateLimit"] == f'"account";r=0;t={response.headers["Retry-After"]}'


async def test_an_account_without_a_rate_is_told_nothing(client: Client) -> None:
    response = await client.ask("GET", f"/jobs/{await client.submit()}")
    assert not [name for name in response.headers if name.startswith("RateLimit")]


async def test_another_account_is_not_slowed_down(client: Client, limited: int) -> None:
    for _ in range(3):
        await client.ask("GET", f"/jobs/{limited}")
    assert (await client.ask("GET", "/jobs", account="other")).status == 200


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
async def test_every_vendor_tells_it_in_its_words(client: Client, limited: int, format: Any) -> None:
    native = await (await client.ask("GET", f"/jobs/{limited}")).json()
    call = next(call for call in format.calls if isinstance(call, Poll))
    assert call.refusals
    path = format.location(limited, native["id"].replace("-", ""), Audience("", "acme", format.revisions[0]))
    assert (await client.ask("GET", path)).status == 200
    response = await client.ask("GET", path)
    assert response.status == (503 if format.name == "roambi" else 429)
    assert "RateLimit" not in response.headers
