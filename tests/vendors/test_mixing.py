"""One job, many dialects: whoever submitted it, everybody can follow it, and everybody's word counts."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from jobstore.formats import FORMATS, PROJECTIONS
from jobstore.formats.contract import Format, Poll
from jobstore.job.projection import Audience
from jobstore.store import Store
from tests.conftest import Client
from tests.vendors.conftest import reached_at


@pytest.fixture
async def client(store: Store) -> AsyncIterator[Client]:
    async with reached_at(store, "https://jobs.example") as client:
        yield client


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
async def test_a_native_submission_is_answered_in_any_words(client: Client, format: Format[Any]) -> None:
    response = await client.ask("POST", "/jobs", json={"kind": "a", "format": format.name})
    assert response.status == 202
    assert (response.headers["ETag"], response.headers["Jobstore-Position"]) == ('"1"', "1")
    location = response.headers["Location"]
    assert location.startswith("https://jobs.example/")
    polled = await client.ask("GET", location.removeprefix("https://jobs.example"))
    assert polled.status == 200
    assert await polled.read() == await response.read()
    name = location.rsplit("/", 1)[1].removesuffix(".json")
    for id in (name, "1"):
        native = await client.ask("GET", f"/jobs/{id}")
        assert (await native.json())["number"] == 1


@pytest.mark.parametrize("name", PROJECTIONS)
async def test_every_past_moment_is_shown_in_every_words(client: Client, name: str) -> None:
    job = await client.submit(total=4)
    seen = []
    for event in (
        {"type": "starting"},
        {"type": "started", "stage": "load"},
        {"type": "progressed", "done": 1},
        {"type": "output_produced", "output": {"name": "a"}},
        {"type": "stop_requested"},
        {"type": "stopping"},
        {"type": "cancelled"},
    ):
        position = int((await client.report(job, event)).headers["Jobstore-Position"])
        seen.append((position, await (await client.ask("GET", f"/jobs/{job}?format={name}")).read()))
    for position, body in seen:
        then = await client.ask("GET", f"/jobs/{job}?format={name}&at={position}")
        assert await then.read() == body


async def test_a_list_is_shown_in_any_words(client: Client) -> None:
    jobs = [await client.submit() for _ in range(3)]
    for name in PROJECTIONS:
        listed = orjson.loads(await (await client.ask("GET", f"/jobs?format={name}")).read())["jobs"]
        alone = [await (await client.ask("GET", f"/jobs/{job}?format={name}")).json() for job in reversed(jobs)]
        assert listed == alone


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
async def test_a_poll_shows_what_was_just_said(client: Client, format: Format[Any]) -> None:
    assert any(isinstance(call, Poll) for call in format.calls)
    job = await client.submit(total=2)  # without one, who counts tasks has no word for a fraction
    native = await (await client.ask("GET", f"/jobs/{job}")).json()
    path = format.location(job, native["id"].replace("-", ""), Audience("", "acme", format.revisions[0]))
    told = []
    for events in ([], [{"type": "started"}, {"type": "progressed", "fraction": 0.5}], [{"type": "completed"}]):
        if events:
            assert (await client.report(job, *events)).status == 200
        told.append(await (await client.ask("GET", path)).read())
    assert len(set(told)) == 3


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
async def test_no_dialects_header_fields_depend_on_who_asked_before(client: Client, format: Format[Any]) -> None:
    told = {}
    for first in ("native", "vendor"):
        job = await client.submit()
        native = await (await client.ask("GET", f"/jobs/{job}")).json()
        own = format.location(job, native["id"].replace("-", ""), Audience("", "acme", format.revisions[0]))
        paths = {"native": f"/jobs/{job}?format={format.name}", "vendor": own}
        for name in (first, *(set(paths) - {first})):
            response = await client.ask("GET", paths[name])
            told[name, first] = {field.lower() for field in response.headers}
    assert told["native", "native"] == told["native", "vendor"] >= {"etag", "jobstore-position"}
    assert told["vendor", "vendor"] == told["vendor", "native"] >= {field.lower() for field in format.limits(None)}
    assert "etag" not in told["vendor", "native"]
