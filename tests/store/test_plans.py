"""Every statement that a request waits for finds its rows by an index, however many there are."""

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, get_args

import asyncpg
import pytest

from jobstore.store import (
    Store,
    accounts,
    checkpoints,
    erasure,
    history,
    jobs,
    memos,
    past,
    projecting,
    restoring,
    sealed,
    tail,
    taken,
    views,
    writing,
)
from tests.store.asking import query

ACCOUNTS, JOBS, EVENTS = 3, 2000, 20_000

FILL = f"""
INSERT INTO accounts (name) SELECT 'account-' || n FROM generate_series(1, 600) AS n;
INSERT INTO heads (account_id, position, jobs, hash)
    SELECT account_id, {EVENTS} / {ACCOUNTS}, {JOBS} / {ACCOUNTS}, sha256(name::bytea) FROM accounts;
INSERT INTO jobs (account_id, number, uid, kind, user_name, claim, phase, version, state)
    SELECT 1 + n % {ACCOUNTS}, 1 + n / {ACCOUNTS}, gen_random_uuid(), 'kind-' || n % 7,
        CASE WHEN n % 3 = 0 THEN 'user-' || n % 40 END, CASE WHEN n % 2 = 0 THEN 'claim-' || n % 50 END,
        (ARRAY['queued', 'running', 'running', 'completed', 'completed', 'completed', 'failed'])[1 + n % 7], 1, '{{}}'
    FROM generate_series(0, {JOBS} - 1) AS n;
INSERT INTO events (account_id, position, job, version, type, at, data, by, hash)
    SELECT 1 + n % {ACCOUNTS}, 1 + n / {ACCOUNTS}, 1 + (n % {JOBS}) / {ACCOUNTS}, 1 + n / {JOBS}, 'progressed',
        timestamptz '2026-01-01' + n * interval '1 second', '{{}}', 'account/worker', sha256(n::text::bytea)
    FROM generate_series(0, {EVENTS} - 1) AS n ON CONFLICT DO NOTHING;
INSERT INTO idempotency (account_id, key, digest, job, first_version, last_version, position, created_at)
    SELECT account_id, 'key-' || position, sha256('x'), job, version, version, position, at FROM events;
INSERT INTO views (account_id, job, format, revision, version, position, memo)
    SELECT account_id, number, 'native', 1, 1, 1, '{{}}' FROM jobs;
INSERT INTO keys (key_id, account_id, name, scope, hash)
    SELECT 'key-' || account_id, account_id, 'a', 'read', sha256('x') FROM accounts;
INSERT INTO keys (key_id, account_id, name, scope, hash, job)
    SELECT 'job-' || account_id || '-' || number, account_id, 'job-' || number, 'write', sha256('x'), number FROM jobs;
"""

STATEMENTS = {
    "accounts.KEEP_ONLY": accounts.KEEP_ONLY,
    "history.OF_JOB": history.OF_JOB,
    "history.OF_ACCOUNT": history.OF_ACCOUNT,
    "history.COLUMNS_OF_JOB": history.COLUMNS_OF_JOB,
    "history.HEAD": history.HEAD,
    "history.AT_TIME": history.AT_TIME,
    "tail.HEADS": tail.HEADS,
    "views.WHERE": views.WHERE,
    "views.NEWER": views.NEWER,
    "memos.MEMO": memos.MEMO,
    "memos.REMEMBER": memos.REMEMBER,
    "jobs.BY_UID": jobs.BY_UID,
    "jobs.LATEST": jobs.LATEST,
    "past.WHERE": past.WHERE,
    "past.LATEST": past.LATEST,
    **{
        f"past.listing{filters}, {phase}": past.listing(*filters, phase=phase)
        for count in range(3)
        for filters in combinations(("kind", "user"), count)
        for phase in (True, False)
    },
    **{
        f"past.searching({order}, {descending}, {sought})": past.searching(order, descending, *sought)
        for order in get_args(jobs.Order)
        for descending in (True, False)
        for count in range(4)
        for sought in combinations(("phases", "text", "since"), count)
    },
    "projecting.COUNT": projecting.COUNT,
    "projecting.DUE": projecting.DUE,
    "checkpoints.HEAD": checkpoints.HEAD,
    "sealed.SEALED": sealed.SEALED,
    "sealed.BEYOND": sealed.BEYOND,
    "sealed.HASH_AT": sealed.HASH_AT,
    "sealed.RECORDED": sealed.RECORDED,
    "restoring.REACHED": restoring.REACHED,
    "restoring.LOAD": restoring.LOAD,
    "erasure.HEAD": erasure.HEAD,
    "erasure.JOB": erasure.JOB,
    "erasure.SAID": erasure.SAID,
    "erasure.PAYLOADS": erasure.PAYLOADS,
    "erasure.ROW": erasure.ROW,
    "erasure.VIEWS": erasure.VIEWS,
    "writing._LOCK": writing._LOCK,
    "writing._LOCK_WHAT_IS_FREE": writing._LOCK_WHAT_IS_FREE,
    "writing._LOAD": writing._LOAD,
    "writing._REMEMBER": writing._REMEMBER,
    "writing._HASH_AT": writing._HASH_AT,
    "writing._WRITE": writing._WRITE,
    "taken.NUMBERS": taken.NUMBERS,
    "taken.UIDS": taken.UIDS,
    "taken.CLAIMS": taken.CLAIMS,
    **{
        f"jobs.listing{filters}": jobs.listing(*filters)
        for count in range(4)
        for filters in combinations(("phase", "kind", "user"), count)
    },
    **{
        f"jobs.searching({order}, {descending}, {sought})": jobs.searching(order, descending, *sought)
        for order in get_args(jobs.Order)
        for descending in (True, False)
        for count in range(4)
        for sought in combinations(("phases", "text", "since"), count)
    },
}
IN_THE_ORDER_OF_AN_INDEX = ("history.OF_JOB", "history.OF_ACCOUNT", "history.COLUMNS_OF_JOB", "jobs.listing()")
OF_THE_PAST = [  # what asks for a phase reads back to where the job entered it
    name for name in STATEMENTS if name.startswith("past.") and "phases" not in name and not name.endswith("True")
]
SEARCHES = [name for name in STATEMENTS if name.startswith("jobs.searching")]


@pytest.fixture(scope="module")
def filled(server: str, template: str) -> Iterator[str]:
    """The address of a database with many jobs, of which Postgres knows how many."""
    name = "jobstore_test_plans"

    async def make() -> str:
        connection = await asyncpg.connect(server)
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()
        address = re.sub(r"(?<=/)\w+(?=\?|$)", name, server)
        connection = await asyncpg.connect(address)
        await connection.execute(FILL)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
        return address

    async def drop() -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()

    yield asyncio.run(make())
    asyncio.run(drop())


async def plan(dsn: str, statement: str) -> list[dict[str, Any]]:
    """The nodes of the generic plan."""
    connection = await asyncpg.connect(dsn, server_settings={"plan_cache_mode": "force_generic_plan", "jit": "off"})
    try:
        await connection.execute(f"PREPARE asked AS {statement}")
        parameters = max((int(n) for n in re.findall(r"\$(\d+)", statement)), default=0)
        nulls = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
        found = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{nulls}"))
    finally:
        await connection.close()
    nodes, rest = [], [found[0]["Plan"]]
    while rest:
        nodes.append(rest.pop())
        rest += nodes[-1].get("Plans", [])
    return nodes


@pytest.mark.parametrize("name", STATEMENTS)
async def test_every_table_is_read_by_an_index(filled: str, name: str) -> None:
    nodes = await plan(filled, STATEMENTS[name])
    scans = [node for node in nodes if "Scan" in node["Node Type"] and "Relation Name" in node]
    assert scans or name == "memos.REMEMBER", "this test shows nothing"
    for node in scans:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), (
            f"{node['Node Type']} on {node['Relation Name']}"
        )
        assert "account_id" in node.get("Index Cond", node.get("Recheck Cond", "")), (
            "an account reads only its own rows"
        )


@pytest.mark.parametrize("name", STATEMENTS)
async def test_an_index_is_entered_by_its_first_columns(filled: str, name: str) -> None:
    found = await query(filled, "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    columns = {row["indexname"]: re.findall(r"\w+", row["indexdef"].split("(", 1)[1].split(")")[0]) for row in found}
    for node in await plan(filled, STATEMENTS[name]):
        if "Index Name" in node:
            index = columns[node["Index Name"]]
            asked = [column for column in index if re.search(rf"\b{column}\b", node["Index Cond"])]
            assert asked == index[: len(asked)], f"{node['Index Name']} is read whole for {node['Index Cond']}"


@pytest.mark.parametrize("name", IN_THE_ORDER_OF_AN_INDEX)
async def test_a_page_is_read_in_the_order_of_its_index(filled: str, name: str) -> None:
    assert not [node for node in await plan(filled, STATEMENTS[name]) if "Sort" in node["Node Type"]]


@pytest.mark.parametrize("name", ["phase", "kind", "user"])
async def test_a_page_of_few_among_many_is_found_without_reading_the_many(filled: str, name: str) -> None:
    indexes = {node.get("Index Name") for node in await plan(filled, jobs.listing(name))}
    assert f"jobs_by_{name}" in indexes


@pytest.mark.parametrize("name", [*SEARCHES, "jobs.LATEST", *OF_THE_PAST])
async def test_of_a_job_that_is_searched_one_event_is_read_whatever_its_history(filled: str, name: str) -> None:
    scans = [node for node in await plan(filled, STATEMENTS[name]) if node.get("Relation Name") == "events"]
    assert scans
    for node in scans:
        assert node["Index Name"] == "events_job_version_is_taken"
        assert re.search(r"\(job = ", node["Index Cond"])


@pytest.mark.parametrize("name", [name for name in SEARCHES if "created" in name and "since" not in name])
async def test_a_page_in_the_order_of_creation_is_read_from_an_index_to_its_end_and_no_further(
    filled: str, name: str
) -> None:
    limits = [node for node in await plan(filled, STATEMENTS[name]) if node["Node Type"] == "Limit"]
    assert any(node["Plans"][0].get("Index Name") == "jobs_pkey" for node in limits)


async def test_the_keys_of_a_job_are_found_without_reading_those_of_the_account(filled: str) -> None:
    assert "keys_by_job" in {node.get("Index Name") for node in await plan(filled, accounts.KEEP_ONLY)}


async def test_who_holds_a_claim_is_found_without_reading_other_jobs(filled: str) -> None:
    [scan] = [node for node in await plan(filled, taken.CLAIMS) if "Index Name" in node]
    assert scan["Index Name"] == "jobs_by_claim"
    assert "hashtextextended" in scan["Index Cond"]


async def test_the_plans_are_those_that_a_node_gets(filled: str) -> None:
    async with Store(filled) as store:
        setting = await store.postgres.read(lambda connection: connection.fetchval("SHOW plan_cache_mode"))
    assert setting == "force_generic_plan"


async def test_a_plan_without_an_index_is_found_out(filled: str) -> None:
    nodes = await plan(filled, "SELECT * FROM events WHERE account_id = $1 AND type = $2 AND by = $3")
    assert any(node["Node Type"] in ("Seq Scan", "Bitmap Heap Scan", "Index Scan") for node in nodes)
    nodes = await plan(filled, "SELECT * FROM events WHERE type = $1")
    assert any(node["Node Type"] == "Seq Scan" for node in nodes)
