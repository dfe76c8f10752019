"""Given a client that is not ours, when it follows a feed, then it has what it should, once, whatever breaks."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from jobstore.formats import PROJECTIONS
from tests.conftest import Client
from tests.feeds.clients import Follow, Following
from tests.feeds.conftest import node
from tests.feeds.relay import Relay
from tests.web.eventstream import Event
from tests.web.feeding import positions
from tests.web.wire import key_of

STARTED = {"type": "started"}
HALF = {"type": "progressed", "fraction": 0.5}
DONE = {"type": "completed", "results": ["a\r\nb", "é"]}

Until = Callable[..., Any]


@pytest.fixture
async def key(client: Client) -> str:
    return await key_of(client)


async def log(client: Client) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (await (await client.ask("GET", "/events?limit=1000")).json())["events"]
    return events


async def heard(following: Following, count: int, until: Until) -> list[Event]:
    """What it was given, once that is so many events; more is never right."""

    async def enough() -> bool:
        return len(await following.heard()) >= count

    await until(enough)
    events = await following.heard()
    assert len(events) == count
    return events


async def test_a_job_is_followed_to_its_end_and_no_further(
    follow: Follow, client: Client, relay: Relay, key: str, until: Until
) -> None:
    ended = []
    for job in (await client.submit(), await client.submit()):
        async with follow(f"{relay.address}/jobs/{job}/feed?lastEventId=earliest", key) as following:
            await heard(following, 1, until)
            await client.report(job, STARTED)
            await client.report(job, HALF, DONE)
            await until(following.stopped)
            events = await following.heard()
            assert [event.type for event in events] == ["queued", "started", "progressed", "completed", "end"]
            recorded = [event for event in await log(client) if event["job"] == job]
            assert [json.loads(event.data) for event in events[:-1]] == recorded
            assert events[-1] == Event("end", f'{{"position":{events[-2].id}}}', events[-2].id)
        ended.append(f"last-event-id: {events[-1].id}\r\n")
    # The one that had ended first had as much time to ask again as the other one took.
    for job, last in zip((1, 2), ended, strict=True):
        assert relay.times_asked(f"/jobs/{job}/feed") == 2
        assert any(f"/jobs/{job}/feed" in asked and last in asked.lower() for asked in relay.asked)


# Where the frame of an event is cut: before it, in each of its lines, and before the empty line that completes it.
BROKEN = ["", "\nid: %d", "\nid: %d\nevent: prog", "\nid: %d\nevent: progressed\ndata: {", "\nid: %d\n.*\n.*\n(?=\n)"]


async def test_what_a_broken_connection_has_swallowed_comes_again_and_nothing_else(
    follow: Follow, client: Client, relay: Relay, key: str, until: Until
) -> None:
    job = await client.submit()
    await client.report(job, STARTED)
    async with follow(f"{relay.address}/feed?lastEventId=earliest", key) as following:
        await heard(following, 2, until)
        for position, broken in enumerate(BROKEN, 3):
            relay.lose = re.compile(broken.replace("%d", str(position)).encode())
            await client.report(job, {**HALF, "fraction": position / 10})
            await heard(following, position, until)
        assert relay.cuts == len(BROKEN)
        events = await following.heard()
    assert positions(events) == list(range(1, len(events) + 1))
    assert [json.loads(event.data) for event in events] == await log(client)


async def test_a_server_that_is_told_to_end_is_left_for_another(
    follow: Follow, client: Client, relay: Relay, key: str, until: Until
) -> None:
    job = await client.submit()
    port, other = relay.port, node(client.store)
    await other.start_server()
    assert other.port is not None
    relay.port = other.port
    async with follow(f"{relay.address}/feed?lastEventId=earliest", key) as following:
        await heard(following, 1, until)
        await client.report(job, STARTED)
        await heard(following, 2, until)
        relay.port = port
        await other.close()
        await client.report(job, HALF, DONE)
        assert positions(await heard(following, 4, until)) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", list(PROJECTIONS))
async def test_in_a_format_each_event_has_the_job_as_it_was_after_it(
    follow: Follow, client: Client, relay: Relay, key: str, until: Until, name: str
) -> None:
    job = await client.submit(args={"said": "a\nb"})
    async with follow(f"{relay.address}/jobs/{job}/feed?lastEventId=earliest&format={name}", key) as following:
        await heard(following, 1, until)
        await client.report(job, STARTED, HALF, DONE)
        await until(following.stopped)
        *events, end = await heard(following, 5, until)
    assert end.type == "end"
    host = {"Host": relay.address.removeprefix("http://")}
    for event in events:
        then = await client.ask("GET", f"/jobs/{job}?at={event.id}&format={name}", headers=host)
        assert json.loads(event.data) == await then.json()


async def test_a_filter_picks_the_same_events_of_the_past_and_of_what_comes(
    follow: Follow, client: Client, relay: Relay, key: str, until: Until
) -> None:
    async def live() -> None:
        for kind in ("a", "b", "c"):
            await client.report(await client.submit(kind), STARTED, HALF, DONE)

    await live()
    query = "kind=a&kind=c&type=started,completed&lastEventId=earliest"
    async with follow(f"{relay.address}/feed?{query}", key) as following:
        await heard(following, 4, until)
        await live()
        events = await heard(following, 8, until)
    kinds = {event["job"]: event["data"]["kind"] for event in await log(client) if event["type"] == "queued"}
    picked = [e for e in await log(client) if kinds[e["job"]] in "ac" and e["type"] in ("started", "completed")]
    assert [json.loads(event.data) for event in events] == picked
