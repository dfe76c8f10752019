"""Given many readers, when something happens, then each is sent what it wants, at next to no cost; and none can stay
who does not read, has no key any more, or was there long enough."""

import asyncio
import gc
import json
import random
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobstore.formats import native
from jobstore.job.projection import Audience, Projection
from jobstore.store import Store
from jobstore.web import channel as channels
from jobstore.web import frames
from jobstore.web.channel import BUFFER, Channel, Reader, Wish
from jobstore.web.filters import Filter
from jobstore.web.folds import MOST, Folds
from jobstore.web.hub import HEARTBEAT, HUB, LIFE, Hub
from tests.conftest import Client
from tests.web.eventstream import Event, parse
from tests.web.feeding import Feed, positions
from tests.web.plugs import HandTail, Wire, entry, reader
from tests.web.wire import NDJSON, key_of

BEAT = frames.chunk(frames.comment())


def hub_of(client: Client) -> Hub:
    app = client.http.app
    assert app is not None
    hub: Hub = app[HUB]
    return hub


@asynccontextmanager
async def opened(
    store: Store, tail: HandTail, projection: Projection[Any] | None = None
) -> AsyncIterator[tuple[Hub, Channel]]:
    hub = Hub(tail, store.views, store.gate)
    async with hub.channel(1, projection, looks=False) as channel:
        yield hub, channel
    await hub.stop()


def live(channel: Channel, wish: Wish | None = None) -> tuple[Reader, Wire]:
    """A reader who was sent everything."""
    one, wire = reader(wish)
    channel.hold(one)
    assert channel.join(one)
    return one, wire


def of_job(*numbers: int) -> Wish:
    return Wish(Filter(jobs=frozenset(numbers)))


def sent(wire: Wire) -> list[Event]:
    """The events in the chunks that were written."""
    data, body = b"".join(wire.written), b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        body, data = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return parse(body)


# -- Fan-out ------------------------------------------------------------------------------------------------------


async def test_all_who_want_the_same_are_sent_the_same_bytes_and_a_burst_at_once(store: Store) -> None:
    tail = HandTail()
    async with opened(store, tail) as (_, channel):
        wires = [live(channel)[1] for _ in range(100)]
        tail.say(*(entry(n) for n in range(1, 51)))
    assert {len(wire.written) for wire in wires} == {1}
    assert len({id(wire.written[0]) for wire in wires}) == 1
    assert positions(sent(wires[0])) == list(range(1, 51))


async def test_nobody_else_is_looked_at_when_a_job_has_an_event(store: Store) -> None:
    tail = HandTail()
    async with opened(store, tail) as (_, channel):
        wires = {number: live(channel, of_job(number))[1] for number in range(1, 101)}
        both = live(channel, of_job(7, 8))[1]
        for wire in wires.values():
            wire.asked = 0  # of its coming
        tail.say(entry(1, 8, 1), entry(2, 7, 1), entry(3, 8, 2))
    assert {number for number, wire in wires.items() if wire.asked} == {7, 8}
    assert positions(sent(wires[8])) == [1, 3]
    assert positions(sent(both)) == [1, 2, 3]
    assert len(both.written) == 1


async def test_a_view_is_folded_once_and_shown_once_an_audience(store: Store) -> None:
    counted = {"evolve": 0, "show": 0}

    def counting(name: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            counted[name] += 1
            return does(*arguments)

        return count

    projection = replace(
        native.PROJECTION,
        evolve=counting("evolve", native.PROJECTION.evolve),
        show=counting("show", native.PROJECTION.show),
    )
    tail = HandTail()
    async with opened(store, tail, projection) as (_, channel):
        for _ in range(10):
            live(channel, Wish(audience=Audience("a")))
            live(channel, Wish(audience=Audience("b")))
            live(channel, Wish(of_job(1).filter, Audience("b")))
        queued = f'{{"uid":"{1:032x}","kind":"x"}}'
        tail.say(entry(1, 1, 1, "queued", queued), entry(2, 1, 2), entry(3, 1, 3))
    assert counted == {"evolve": 3, "show": 6}


async def test_views_are_kept_of_jobs_that_go_on_only(store: Store) -> None:
    folds = Folds(store.views, 1, native.PROJECTION, looks=False)
    queued = f'{{"uid":"{1:032x}","kind":"x"}}'
    assert folds.missing([entry(1, 1, 1), entry(2, 2, 5), entry(3, 2, 6)]) == [entry(2, 2, 5)]
    for number in range(1, MOST + 11):
        folds.moment(entry(number, number, 1, "queued", queued))
    folds.trim()
    folds.moment(entry(9999, 100, 2, "completed"))
    folds.moment(entry(10000, 100, 3))
    folds.trim()
    nexts = {number: entry(10001, number, 4) for number in (1, 10, 11, 100, MOST)}
    assert folds.missing(list(nexts.values())) == [nexts[number] for number in (1, 10, 100)]


async def test_readers_of_one_account_and_format_share_a_channel_that_ends_with_the_last(store: Store) -> None:
    tail = HandTail(5)
    hub = Hub(tail, store.views, store.gate)
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(hub.channel(1, None, looks=False)) for _ in range(3)]
        other = await stack.enter_async_context(hub.channel(1, native.PROJECTION, looks=False))
        assert found[0] is found[1] is found[2] is not other
        assert (found[0].position, len(tail.listeners)) == (5, 2)
    assert tail.listeners == []


async def test_what_comes_while_a_reader_catches_up_is_held_for_it(store: Store) -> None:
    tail = HandTail(3)
    async with opened(store, tail) as (_, channel):
        one, wire = reader()
        assert channel.hold(one) == 3
        tail.say(entry(4))
        tail.say(entry(5), entry(6))
        assert wire.written == []
        assert channel.join(one)
        assert len(wire.written) == 1
        tail.say(entry(7))
    assert positions(sent(wire)) == [4, 5, 6, 7]


async def test_when_too_much_would_be_held_the_reader_catches_up_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "BUFFER", 200)
    tail = HandTail()
    async with opened(store, tail) as (_, channel):
        one, wire = reader()
        channel.hold(one)
        for n in range(1, 11):
            tail.say(entry(n))
        assert one.held is None
        assert not channel.join(one)
        assert channel.hold(one) == 10
        tail.say(entry(11))
        assert channel.join(one)
    assert positions(sent(wire)) == [11]


async def test_a_jobs_readers_are_done_with_its_end_whether_they_are_live_or_catch_up(store: Store) -> None:
    tail = HandTail()
    wish = of_job(1)._replace(ends=True)
    async with opened(store, tail) as (_, channel):
        (one, wire), (two, held) = live(channel, wish), reader(wish)
        channel.hold(two)
        tail.say(entry(1, 1, 1, "completed"), entry(2, 1, 2), entry(3, 2, 1))
        tail.say(entry(4, 1, 3))
        assert one.ended.done()
        assert channel.join(two)
        assert two.ended.done()
    assert [(event.type, event.id) for event in sent(wire)] == [("completed", "1"), ("annotated", "2"), ("end", "3")]
    assert sent(held)[:3] == sent(wire)


# -- Who cannot stay ----------------------------------------------------------------------------------------------


async def test_a_slow_reader_is_cut_off_and_no_other(store: Store) -> None:
    tail = HandTail()
    async with opened(store, tail) as (_, channel):
        (slow, slow_wire), (gone, gone_wire), (_, wire) = live(channel), live(channel), live(channel)
        slow_wire.slow = True
        tail.say(entry(1, data='"%s"' % ("x" * BUFFER)))
        assert (slow_wire.closing, slow.ended.done(), gone.ended.done()) == (False, False, False)
        gone_wire.closing = True
        tail.say(entry(2))
        assert (slow_wire.closing, slow.ended.done(), gone.ended.done()) == (True, True, True)
        assert (len(slow_wire.written), len(gone_wire.written)) == (1, 1)
        kept = weakref.ref(slow_wire)
        for one in (slow, gone):
            channel.leave(one)
        del slow, slow_wire, gone, one
        gc.collect()
        assert kept() is None
        tail.say(entry(3))
    assert positions(sent(wire)) == [1, 2, 3]


async def test_a_slow_reader_of_http_is_cut_off_and_has_the_rest_when_it_comes_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "BUFFER", 2**16)
    job = await client.submit()
    notes = [{"type": "annotated", "note": str(n), "data": {"text": "x" * 20_000}} for n in range(20)]
    async with Feed(client, "/feed", buffer=4096) as slow, Feed(client, "/feed") as quick:
        await slow.opened()
        await quick.opened()
        sent = 1
        while len(hub_of(client)) == 2:
            assert sent < 2000, "the slow reader is never cut off"
            assert (await client.report(job, *notes)).status == 200
            sent += len(notes)
            assert len(await quick.take(len(notes))) == len(notes)
        seen = positions(await slow.rest())
        assert not slow.clean
        assert seen == list(range(2, 2 + len(seen)))
        assert len(seen) < sent - 1
        async with Feed(client, "/feed", slow.parser.last_event_id) as back:
            missing = sent - int(slow.parser.last_event_id)
            assert positions(await back.take(missing)) == list(range(sent - missing + 1, sent + 1))


async def test_heartbeats_are_comments_due_every_15_seconds_and_not_for_all_at_once(store: Store) -> None:
    async with opened(store, HandTail()) as (hub, channel):
        begin = asyncio.get_running_loop().time()
        wires = []
        for _ in range(160):
            one, wire = live(channel)
            hub.enter(one, channel)
            wires.append(wire)
        hub.look(begin)
        assert not any(wire.written for wire in wires)
        beats: list[int] = []
        for second in range(16):
            hub.look(begin + second + 0.5)
            beats.append(sum(len(wire.written) for wire in wires) - sum(beats))
        assert max(beats) <= 30
        assert all(wire.written == [BEAT] for wire in wires)
        hub.look(begin + 15.5 + HEARTBEAT)
        assert all(wire.written == [BEAT, BEAT] for wire in wires)


async def test_nobody_stays_for_longer_than_the_life_of_a_feed(store: Store) -> None:
    tail = HandTail()
    async with opened(store, tail) as (hub, channel):
        readers = [live(channel) for _ in range(64)]
        for one, _ in readers:
            hub.enter(one, channel)
        tail.say(entry(1, 9))
        begin = asyncio.get_running_loop().time()
        hub.look(begin + LIFE * 0.74)
        assert not any(one.ended.done() for one, _ in readers)
        hub.look(begin + LIFE * 0.9)
        assert 0 < sum(one.ended.done() for one, _ in readers) < 64
        hub.look(begin + LIFE)
        assert all(one.ended.done() for one, _ in readers)
        assert all(wire.written[-1] == frames.chunk(frames.mark(1)) for _, wire in readers)


async def test_a_feed_that_has_lasted_long_enough_ends_cleanly_and_goes_on_elsewhere(client: Client) -> None:
    hub = hub_of(client)
    await client.submit("a")
    async with Feed(client, "/feed?kind=b") as feed:
        await feed.opened()
        await client.submit("a")
        await client.submit("a")
        await client.ask("GET", "/jobs/3?after=3", headers={"Prefer": "wait=5"})
        hub.look(asyncio.get_running_loop().time() + LIFE)
        assert await feed.rest() == []
        assert feed.clean
        assert feed.headers["connection"] == "close"
        assert feed.parser.last_event_id == "3"


async def test_a_revoked_key_has_its_feeds_ended_and_no_other_key(client: Client) -> None:
    await key_of(client)
    keys = [await client.store.accounts.create_key("acme", "read") for _ in range(2)]
    async with AsyncExitStack() as stack:
        feeds = [
            await (
                await stack.enter_async_context(Feed(client, "/feed", headers={"Authorization": f"Bearer {key}"}))
            ).opened()
            for _, key in keys
        ]
        await client.store.accounts.revoke(keys[0][0].key_id)
        assert await feeds[0].rest() == []
        assert feeds[0].clean
        await client.submit()
        assert positions(await feeds[1].take(1)) == [1]
        refused = await client.http.request("GET", "/feed", headers={"Authorization": f"Bearer {keys[0][1]}"})
        assert refused.status == 401


async def test_a_server_that_stops_ends_its_feeds_cleanly_also_those_that_come_then(client: Client) -> None:
    await client.submit()
    async with Feed(client, "/feed") as feed:
        await feed.opened()
        await hub_of(client).stop()
        await feed.rest()
        assert feed.clean
        async with Feed(client, "/feed") as late:
            assert await late.rest() == []
            assert (late.status, late.clean, late.parser.last_event_id) == (200, True, "1")


async def test_who_left_is_noticed_at_the_next_look_and_not_when_something_is_to_be_sent(store: Store) -> None:
    async with opened(store, HandTail()) as (hub, channel):
        (one, wire), (two, _) = live(channel), live(channel)
        for reader in (one, two):
            hub.enter(reader, channel)
        wire.closing = True
        hub.look(asyncio.get_running_loop().time())
        assert (one.ended.done(), two.ended.done()) == (True, False)


async def test_who_leaves_is_forgotten(client: Client, until: Any) -> None:
    hub = hub_of(client)
    async with Feed(client, "/feed") as feed:
        await feed.opened()
        assert len(hub) == 1
    await until(lambda: not len(hub))


@pytest.mark.parametrize("path", ["/feed", "/feed?format=native"])
async def test_a_channel_that_cannot_go_on_sends_its_readers_away_and_they_lose_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    job = await client.submit()
    async with Feed(client, path) as feed:
        await feed.opened()

        def fail(*_: Any) -> bytes:
            raise RuntimeError("cannot be shown")

        with monkeypatch.context() as patch:
            patch.setattr("jobstore.web.folds.frame", fail)
            await client.report(job, {"type": "started"})
            assert await feed.rest() == []
        assert feed.clean
    async with Feed(client, path, feed.parser.last_event_id) as back:
        await client.report(job, {"type": "progressed", "fraction": 0.5})
        assert positions(await back.take(2)) == [2, 3]


# -- The law ------------------------------------------------------------------------------------------------------

Logged = dict[str, Any]

WANTED: list[tuple[str, Callable[[Logged], bool]]] = [
    ("/feed", lambda event: True),
    ("/feed?format=native", lambda event: True),
    ("/feed?job=1,3", lambda event: event["job"] in (1, 3)),
    ("/feed?type=progressed,completed", lambda event: event["type"] in ("progressed", "completed")),
    ("/feed?kind=odd", lambda event: event["kind"] == "odd"),
    ("/feed?state=running&format=librato", lambda event: event["type"] in ("started", "progressed")),
    (
        "/feed?job=2,4&kind=even&type=started",
        lambda event: event["type"] == "started" and event["kind"] == "even" and event["job"] in (2, 4),
    ),
]


class Subscriber:
    """Reads a feed for a while, loses the connection anywhere, and comes back with what it was told last."""

    def __init__(self, client: Client, path: str, dice: random.Random) -> None:
        self.begin: int | None = None
        self.seen: list[int] = []
        self._client = client
        self._path = path
        self._dice = dice
        self._last: str | None = None

    async def read(self, over: asyncio.Event) -> None:
        """Read until all is `over`."""
        stop = asyncio.ensure_future(over.wait())
        while not stop.done():
            async with Feed(self._client, self._path, self._last) as feed:
                await feed.opened()
                if self.begin is None:
                    self.begin = int(feed.parser.last_event_id)
                    self._last = feed.parser.last_event_id
                for _ in range(self._dice.randrange(1, 12)):
                    coming = asyncio.ensure_future(feed.next())
                    await asyncio.wait((coming, stop), return_when=asyncio.FIRST_COMPLETED)
                    if not coming.cancel() and coming.exception() is None:
                        self._see(coming.result())
                    elif coming.done():
                        assert feed.clean
                        self._last = feed.parser.last_event_id
                        break
                    else:
                        break

    async def finish(self, wanted: int) -> None:
        """Come back for what is missing of so many events."""
        async with Feed(self._client, self._path, self._last) as feed:
            while len(self.seen) < wanted:
                self._see(await feed.next())

    def _see(self, event: Event) -> None:
        self.seen.append(int(event.id))
        self._last = event.id


@given(seed=st.integers(0, 10**6))
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_every_subscriber_sees_exactly_the_filtered_log_from_its_start_in_order_once(
    client: Client, seed: int
) -> None:
    await key_of(client)
    dice = random.Random(seed)
    over = asyncio.Event()
    subscribers: list[tuple[Subscriber, Callable[[Logged], bool]]] = []

    async def append() -> None:
        job = dice.randrange(1, 6)
        if dice.random() < 0.3:
            job = await client.submit(dice.choice(("odd", "even")))
        steps = [{"type": "progressed", "done": dice.randrange(10**9)} for _ in range(dice.randrange(1, 5))]
        await client.report(job, {"type": "started"})
        await client.report(job, *steps)
        if dice.random() < 0.1:
            await client.report(job, {"type": "completed"})

    async with asyncio.TaskGroup() as reading:
        for _ in range(25):
            if dice.random() < 0.4:
                path, has = dice.choice(WANTED)
                one = Subscriber(client, path, random.Random(dice.random()))
                subscribers.append((one, has))
                reading.create_task(one.read(over))
            if dice.random() < 0.1:
                hub_of(client).look(asyncio.get_running_loop().time() + LIFE)
            await asyncio.gather(*(append() for _ in range(dice.randrange(4))))
        over.set()
    logged = [json.loads(line) for line in (await _everything(client)).splitlines()]
    kinds = {event["job"]: event["data"]["kind"] for event in logged if event["type"] == "queued"}
    for one, has in subscribers:
        assert one.begin is not None
        wanted = [
            event["position"]
            for event in logged
            if event["position"] > one.begin and has({**event, "kind": kinds[event["job"]]})
        ]
        await one.finish(len(wanted))
        assert one.seen == wanted


async def _everything(client: Client) -> str:
    text: str = await (await client.ask("GET", "/events", headers={"Accept": NDJSON})).text()
    return text
