"""The collector's way to its database, which may come up after it."""

import asyncio
import contextlib
import logging

from sqlalchemy import Engine

from gputally.collector.database import DATABASE_ERRORS
from gputally.collector.migrate import migrate

_LOG = logging.getLogger(__name__)


class Database:
    """A database that is tried every `retry_s` until it is reached. `name` is its URL as it may be printed.

    `problem` says what keeps it from being used, one line; empty once it is migrated.
    """

    def __init__(self, engine: Engine, name: str, retry_s: float) -> None:
        self._engine = engine
        self._retry_s = retry_s
        self.name = name
        self.problem = f"database {name} was not reached yet"

    async def migrated(self, stop: asyncio.Event) -> bool:
        """Wait until it is reached and migrate it; False where `stop` came first. Raises UnknownRevision."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(migrate, self._engine)
            except DATABASE_ERRORS as error:
                self.problem = f"database {self.name} cannot be reached: {str(error).partition(chr(10))[0]}"
                _LOG.warning("%s; trying again every %g s", self.problem, self._retry_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._retry_s)
            else:
                self.problem = ""
                return True
        return False
