"""Given what an account was granted, when somebody comes with a key, then the gate knows it, within a second."""

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from jobstore.store import Store
from jobstore.store.accounts import Account, Gate, Mistaken, Principal
from jobstore.store.rates import Rate, parse_rate
from tests.store.asking import query, submit


async def admitted(store: Store, key: str) -> Principal | None:
    """Who a gate that has not heard of the key before says that it is."""
    return await Gate(store.postgres).admit(key)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("5000/hour", Rate(5000, 3600)),
        ("100/minute", Rate(100, 60)),
        ("10/second", Rate(10, 1)),
        ("20000/day", Rate(20_000, 86_400)),
        ("1/second", Rate(1, 1)),
        ("999999999/day", Rate(999_999_999, 86_400)),
    ],
)
def test_a_rate_is_a_number_of_requests_in_a_window(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


WRONG_RATES = [
    "", "off", "5000", "5000/", "/hour", "0/hour", "-1/hour", "+1/hour", "01/hour", "1.5/hour", "5 000/hour",
    "5000 / hour", "5000/Hour", "5000/week", "5000/hours", "1000000000/hour", "5000/hour\n", "٣/hour", "1/hour/hour",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG_RATES)
async def test_what_is_not_a_rate_is_refused_with_one_that_is(dsn: str, store: Store, account: int, text: str) -> None:
    with pytest.raises(Mistaken, match="5000/hour"):
        parse_rate(text)
    with pytest.raises(Mistaken):
        await store.accounts.set("acme", {"rate": text})
    with pytest.raises(asyncpg.CheckViolationError, match="accounts_rate_shape"):
        await query(dsn, "UPDATE accounts SET settings = jsonb_build_object('rate', $1::text)", text)


async def test_settings_are_merged_and_taken_away(store: Store, account: int) -> None:
    await store.accounts.create("rival")
    assert (await store.accounts.set("acme", {"zendesk": "2012", "rate": "5/second"})).settings == {
        "zendesk": "2012", "rate": "5/second",
    }  # fmt: skip
    assert (await store.accounts.set("acme", {"zendesk": "current"})).settings == {
        "zendesk": "current", "rate": "5/second",
    }  # fmt: skip
    changed = await store.accounts.set("acme", {"rate": None, "virtool": "5.0", "never": None})
    assert changed == await store.accounts.find("acme")
    assert isinstance(changed, Account)
    assert changed.settings == {"zendesk": "current", "virtool": "5.0"}
    assert (await store.accounts.set("acme", {})) == changed
    assert (await store.accounts.find("rival")).settings == {}


@pytest.mark.parametrize(
    "changes", [{"": "x"}, {"a b": "x"}, {"zendesk": ""}, {"zendesk": "\0"}, {"zendesk": "x" * 64}, {"z\ud800": None}]
)
async def test_a_setting_that_cannot_be_one_is_refused(store: Store, account: int, changes: dict[str, Any]) -> None:
    with pytest.raises(Mistaken, match="cannot be a setting"):
        await store.accounts.set("acme", {"virtool": "5.0", **changes})
    assert (await store.accounts.find("acme")).settings == {}


async def test_settings_of_no_account_are_refused(store: Store) -> None:
    with pytest.raises(Mistaken, match="account list"):
        await store.accounts.set("nobody", {"rate": "1/hour"})


async def test_settings_are_texts_whoever_writes_them(dsn: str, account: int) -> None:
    for settings in ('{"zendesk": 5}', '{"zendesk": {}}', '{"zendesk": null}', "[]", "null", '"x"'):
        with pytest.raises(asyncpg.CheckViolationError, match="accounts_settings_are_texts"):
            await query(dsn, "UPDATE accounts SET settings = $1::jsonb", settings)


async def test_the_gate_knows_what_an_account_was_granted(store: Store, account: int) -> None:
    key = (await store.accounts.create_key("acme", "read", "reader"))[1]
    assert await admitted(store, key) == (account, "acme", "acme/reader", "read", {}, None, None)
    await store.accounts.set("acme", {"zendesk": "current", "rate": "5000/hour"})
    who = await admitted(store, key)
    assert who is not None
    assert (who.revisions, who.rate, who.job) == ({"zendesk": "current"}, Rate(5000, 3600), None)


async def test_a_gate_hears_of_changed_settings_within_a_second(
    store: Store, account: int, until: Callable[..., Any]
) -> None:
    key = (await store.accounts.create_key("acme", "read"))[1]

    async def heard() -> bool:
        who = await store.gate.admit(key)
        return who is not None and who.rate == Rate(7, 1)

    assert not await heard()
    await store.accounts.set("acme", {"rate": "7/second"})
    await until(heard, 1.5)


async def test_a_key_of_a_job_may_write_and_says_which_job_it_is_for(store: Store, account: int) -> None:
    jobs = [(await store.ledger.append(submit(account))).job for _ in range(2)]
    for job in jobs:
        key_id, key = await store.accounts.create_job_key(account, job)
        who = await admitted(store, key)
        assert who is not None
        assert (who.account_id, who.by, who.scope, who.job) == (account, f"acme/job-{job}-{key_id}", "write", job)
    listed = await store.accounts.keys("acme")
    assert [(key.name, key.scope, key.job) for key in listed] == [
        (f"job-{key.job}-{key.key_id}", "write", job) for key, job in zip(listed, jobs, strict=True)
    ]


async def test_a_key_is_made_only_for_a_job_of_the_account(store: Store, account: int) -> None:
    rival = await store.accounts.create("rival")
    await store.ledger.append(submit(rival))
    with pytest.raises(Mistaken, match="no job 1"):
        await store.accounts.create_job_key(account, 1)
    assert await store.accounts.keys() == []


async def test_of_a_jobs_keys_one_is_kept_and_no_other_key_ends(store: Store, account: int) -> None:
    rival = await store.accounts.create("rival")
    for owner in (account, account, rival):
        await store.ledger.append(submit(owner))
    kept, *ended = [await store.accounts.create_job_key(account, 1) for _ in range(3)]
    others = [await store.accounts.create_job_key(account, 2), await store.accounts.create_job_key(rival, 1)]
    admin = (await store.accounts.create_key("acme", "admin"))[1]
    await store.accounts.keep_only_job_key(account, 1, kept[0])
    for _, key in ended:
        assert await admitted(store, key) is None
    for key in (kept[1], admin, *(key for _, key in others)):
        assert await admitted(store, key) is not None
    before = await store.accounts.keys()
    await store.accounts.keep_only_job_key(account, 1, kept[0])
    assert await store.accounts.keys() == before, "what has ended has ended when it did"


async def test_whoever_knows_the_id_of_a_key_has_not_got_the_key(store: Store, account: int) -> None:
    _, key = await store.accounts.create_key("acme", "read")
    assert await store.gate.admit(key) is not None
    almost = key[:-1] + ("1" if key[-1] == "0" else "0")
    shapes = (key[:-1], f"{key}0", f"{key[:-1]}\udcff", f"{key[:-1]}é", f"xyz{key[3:]}", key.swapcase(), key[:16])
    for wrong in (almost, *shapes):
        assert store.gate.remember(wrong) is None
        assert await store.gate.admit(wrong) is None
    assert store.gate.remember(key) == await store.gate.admit(key)
