"""Knows the numbered files of schema/ and runs each once, in order, under a lock that one process holds at a time."""

import re
from pathlib import Path

from jobstore.store.postgres import Connection

_LOCK = 0x6A6F6273  # "jobs": two processes that start at once migrate one after the other
_SECONDS = 3600.0  # that a migration, or another process's, may take

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer CONSTRAINT schema_migrations_pkey PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Outdated(Exception):
    """The database was migrated by a later release than this one."""


def files() -> dict[int, Path]:
    """The migrations by number: from the installed package, or from the checkout that this file is in."""
    package = Path(__file__).parents[1]
    inside, beside = package / "schema", package.parent / "schema"
    folder = inside if inside.is_dir() else beside
    found = {int(m[1]): path for path in folder.glob("*.sql") if (m := re.match(r"(\d{4})_", path.name))}
    if not found:
        raise FileNotFoundError(f"no migrations in {folder}: the installation is not complete")
    return dict(sorted(found.items()))


async def migrate(connection: Connection) -> list[str]:
    """Bring the database up to this release; the names of what was applied, in order.

    Raises Outdated when the database is ahead of this release.
    """
    applied = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK, timeout=_SECONDS)
        await connection.execute(_LEDGER)
        done = {row["number"] for row in await connection.fetch("SELECT number FROM schema_migrations")}
        known = files()
        if done - known.keys():
            raise Outdated(f"the database has migration {max(done)}, this release knows {max(known)}: upgrade jobstore")
        for number, path in known.items():
            if number not in done:
                await connection.execute(path.read_text(encoding="utf-8"), timeout=_SECONDS)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)", number, path.stem
                )
                applied.append(path.stem)
    return applied
