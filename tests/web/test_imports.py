"""A job that comes from elsewhere keeps the id that it had there."""

from typing import Any

import pytest

from tests.conftest import Client

UID = "8b726e60-6741-012f-fc2d-782bcb7848fe"


@pytest.mark.parametrize(
    ("format", "id", "number", "uid"),
    [
        ("native", 123_456, 123_456, None),
        ("native", "123456", 123_456, None),
        ("librato", 157, 157, None),
        ("native", UID, 1, UID.replace("-", "")),
        ("native", UID.replace("-", "").upper(), 1, UID.replace("-", "")),
    ],
)
async def test_its_id_is_kept(client: Client, format: str, id: Any, number: int, uid: str | None) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "format": format, "id": id})
    assert response.status == 202, await response.text()
    native = await (await client.ask("GET", f"/jobs/{id}")).json()
    assert native["number"] == number
    assert uid is None or native["id"].replace("-", "") == uid


async def test_a_taken_id_is_refused(client: Client) -> None:
    await client.submit(id=2)
    response = await client.ask("POST", "/jobs", json={"kind": "a", "id": 2})
    assert response.status == 409
    assert (await response.json())["type"] == "urn:jobstore:problem:taken"
    assert [await client.submit() for _ in range(3)] == [1, 3, 4]
    assert await client.submit(id=9) == 9
    assert (await client.ask("POST", "/jobs", account="other", json={"kind": "a", "id": 2})).status == 202


@pytest.mark.parametrize(
    "id", [0, -1, "0", "", "x", "1.5", 2**53 + 1, 10**17, [1], {"a": 1}, 1.5, True, "8b726e606741012ffc2d782bcb7848fg"]
)
async def test_what_cannot_be_an_id_is_refused(client: Client, id: Any) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "id": id})
    assert response.status == 422
    assert (await response.json())["type"] == "urn:jobstore:problem:malformed"


async def test_an_import_is_repeated_as_any_submission(client: Client) -> None:
    headers = {"Idempotency-Key": "once"}
    answers = [await client.ask("POST", "/jobs", json={"kind": "a", "id": 5}, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [202, 202]
    assert await answers[0].read() == await answers[1].read()


async def test_a_key_of_a_job_opens_that_job_alone(client: Client) -> None:
    own, other = await client.submit(), await client.submit()
    account = (await client.store.accounts.find("acme")).account_id
    _, key = await client.store.accounts.create_job_key(account, own)
    headers = {"Authorization": f"Bearer {key}"}
    assert (await client.ask("GET", f"/jobs/{own}", headers=headers)).status == 200
    said = await client.ask("POST", f"/jobs/{own}/events", json={"type": "started"}, headers=headers)
    assert said.status == 200
    assert (await said.json())["events"][0]["by"].startswith(f"acme/job-{own}-")
    for method, path in (
        ("GET", f"/jobs/{other}"), ("GET", f"/jobs/{other}/events"), ("POST", f"/jobs/{other}/events"),
        ("GET", "/jobs/987654"), ("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/events"), ("POST", "/events"),
    ):  # fmt: skip
        refused = await client.ask(method, path, json={"type": "started", "kind": "a"}, headers=headers)
        assert refused.status == 403, (method, path)
    assert (await client.ask("GET", f"/jobs/{other}")).status == 200
