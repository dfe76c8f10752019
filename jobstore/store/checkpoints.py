"""Knows what a checkpoint says of a log, and who signs it (https://c2sp.org/tlog-checkpoint).

The lines of its text: the origin, which is also the name of the key; the last position; the hash there, in base64; then
as extensions the account and the time. The log is a chain and not a tree, so the hash is the last event's own.
"""

import binascii
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from jobstore.store.notes import Signer, Unproven, Verifier, parts
from jobstore.store.postgres import Connection, Postgres

_KEY = """
WITH made AS (
    INSERT INTO signing_keys (account_id, name, seed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING name, seed
)
SELECT name, seed FROM made UNION ALL SELECT name, seed FROM signing_keys WHERE account_id = $1
"""
HEAD: Final = """
SELECT name, position, hash FROM accounts JOIN heads USING (account_id) WHERE account_id = $1
"""
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Checkpoint(NamedTuple):
    """The log of `account`, known as `origin`, ended at `position` with this hash, at the time `at`."""

    origin: str
    position: int
    hash: bytes
    account: str
    at: datetime

    def text(self) -> str:
        """The text to be signed."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        hash = b64encode(self.hash).decode()
        return f"{self.origin}\n{self.position}\n{hash}\naccount {self.account}\ntime {at}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """What a note's text says. Raises Unproven when it is not a checkpoint of a log of ours."""
        lines = text.split("\n")
        try:
            origin, size, encoded, account, at = lines[:5]
            hash = b64decode(encoded, validate=True)
            time = datetime.fromisoformat(at.removeprefix("time "))
        except (ValueError, binascii.Error):
            raise Unproven("the note is not a checkpoint of an account's log") from None
        if not _SIZE.fullmatch(size) or len(hash) != 32 or time.tzinfo is None or not account.startswith("account "):
            raise Unproven("the note is not a checkpoint of an account's log")
        return cls(origin, int(size), hash, account.removeprefix("account "), time)


class Checkpoints:
    """Signs where logs end. Methods raise Unavailable when Postgres does not answer."""

    def __init__(self, postgres: Postgres, clock: Callable[[], datetime]) -> None:
        self._postgres = postgres
        self._clock = clock
        self._signers: dict[int, Signer] = {}

    async def verifier(self, account_id: int) -> Verifier:
        """The key that the account's checkpoints are verified with."""
        return (await self._signer(account_id)).verifier

    async def now(self, account_id: int) -> str:
        """A signed checkpoint of where the account's log ends."""
        head = await self._postgres.read(lambda connection: connection.fetchrow(HEAD, account_id))
        assert head is not None, "who asks has an account, and its log a head"
        return await self.sign(account_id, *head)

    async def sign(self, account_id: int, account: str, position: int, hash: bytes) -> str:
        """A signed checkpoint of a log that has, or had, its end there."""
        signer = await self._signer(account_id)
        return signer.sign(Checkpoint(signer.name, position, hash, account, self._clock()).text())

    async def _signer(self, account_id: int) -> Signer:
        """The account's key, made now if it has none. A key never changes, so it is read once."""
        signer = self._signers.get(account_id)
        if signer is None:

            async def ask(connection: Connection) -> Signer:
                account = await connection.fetchval("SELECT name FROM accounts WHERE account_id = $1", account_id)
                name = f"jobstore/{account}/{secrets.token_hex(8)}"
                row = await connection.fetchrow(_KEY, account_id, name, secrets.token_bytes(32))
                if row is None:  # another process made it at this moment
                    row = await connection.fetchrow(_KEY, account_id, name, bytes(32))
                assert row is not None, "there is a key now"
                return Signer(*row)

            signer = self._signers[account_id] = await self._postgres.read(ask)
        return signer


def unverified(note: str) -> Checkpoint:
    """What a checkpoint says, whoever may have signed it. Raises Unproven when it is none."""
    return Checkpoint.parse(parts(note)[0])
