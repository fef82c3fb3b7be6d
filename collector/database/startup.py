"""The collector's way to its database, which may come up after it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from sqlalchemy import Engine

from gputally.collector.database.engine import DATABASE_ERRORS, reading
from gputally.collector.database.migrate import migrate

_LOG = logging.getLogger(__name__)


class Database:
    """A database that is tried every `retry_s` until it is reached. `name` is its URL as it may be printed.

    `claim` is called once it is migrated, and says by an error of its own that this collector may not use it.
    `problem` says what keeps it from being used, one line; empty once it is migrated.
    """

    def __init__(self, engine: Engine, name: str, retry_s: float, claim: Callable[[Engine], object]) -> None:
        self._engine = engine
        self._retry_s = retry_s
        self._claim = claim
        self.name = name
        self.problem = f"database {name} was not reached yet"

    async def migrated(self, stop: asyncio.Event) -> bool:
        """Wait until it is reached and migrate it; False where `stop` came first. Raises UnknownRevision and
        what `claim` raises.

        A migration that fails leaves nothing, and is tried again: until then there is no collector, but its state can
        be asked for.
        """
        while not stop.is_set():
            problem = await asyncio.to_thread(self._try)
            if not problem:
                self.problem = ""
                return True
            self.problem = problem
            _LOG.warning("%s; trying again every %g s", problem, self._retry_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._retry_s)
        return False

    def _try(self) -> str:
        """Reach it and migrate it; what is wrong, empty where nothing is."""
        failure = "cannot be reached"
        try:
            with reading(self._engine):
                failure = "cannot be migrated to this version's tables"
            migrate(self._engine)
            self._claim(self._engine)
        except DATABASE_ERRORS as error:
            return f"database {self.name} {failure}: {str(error).partition(chr(10))[0]}"
        return ""
