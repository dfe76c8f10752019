"""Knows how a peer gets a database of its own on the server that is measured; must not know what it keeps there."""

from typing import Final
from urllib.parse import urlsplit

import asyncpg

POOL: Final = 50  # connections at most; the server allows 100, and whoever it is compared with needs some


async def database(dsn: str, name: str) -> str:
    """A new, empty database on the server behind `dsn`; where to connect."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    # As text: urlunsplit drops the empty host of an address that has its socket folder in the query.
    return dsn.replace(f"{urlsplit(dsn).path}?", f"/{name}?", 1)
