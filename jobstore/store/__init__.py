"""Where jobs are kept: everything that talks to Postgres, and nothing that knows HTTP or a format."""

from collections.abc import Callable
from datetime import datetime

from jobstore.store.accounts import Accounts, Gate
from jobstore.store.checkpoints import Checkpoints
from jobstore.store.clock import now
from jobstore.store.erasure import Erasure
from jobstore.store.history import History
from jobstore.store.jobs import Jobs
from jobstore.store.ledger import Ledger
from jobstore.store.migrations import migrate
from jobstore.store.past import Past
from jobstore.store.postgres import Postgres
from jobstore.store.projecting import Projecting
from jobstore.store.rates import Rates
from jobstore.store.sealed import Logs
from jobstore.store.views import Views
from jobstore.store.watch import Watch


class Store:
    """One process's way to the jobs of a database. A node is stateless: any number may be open on one database.

    `clock` gives the present moment, UTC, at which events are recorded.
    """

    def __init__(
        self, dsn: str, *, connections: int = 10, patience: float = 10.0, clock: Callable[[], datetime] = now
    ) -> None:
        self.clock = clock
        self.postgres = Postgres(dsn, connections=connections, patience=patience)
        self.accounts = Accounts(self.postgres)
        self.gate = Gate(self.postgres)
        self.rates = Rates(self.postgres)
        self.ledger = Ledger(self.postgres, patience=patience, clock=clock)
        self.history = History(self.postgres)
        self.jobs = Jobs(self.postgres)
        self.logs = Logs(self.postgres)
        self.checkpoints = Checkpoints(self.postgres, clock)
        self.views = Views(self.postgres, self.history, clock=clock)
        self.past = Past(self.postgres, self.history)
        self.projecting = Projecting(self.postgres, self.history)
        self.erasure = Erasure(self.postgres, clock)
        self.watch = Watch(self.views, self.history)
        self.ledger.listen(self.watch.hear)

    async def open(self) -> list[str]:
        """Connect and migrate; the names of the migrations applied. Raises Unavailable, or migrations.Outdated."""
        await self.postgres.open()
        try:
            async with self.postgres.connection() as connection:
                return await migrate(connection)
        except BaseException:
            await self.postgres.close()
            raise

    async def close(self) -> None:
        """Answer what is under way and let the connections go."""
        self.watch.stop()
        await self.ledger.close()
        await self.views.close()
        await self.postgres.close()

    async def __aenter__(self) -> "Store":
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
