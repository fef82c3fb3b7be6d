"""What every address of the API needs: the ledger, the clock, who asks, and a desk to answer at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from sqlalchemy import Connection, Engine

from gputally.collector.allocation.allocation import Allocation, read_allocation
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Scope
from gputally.collector.api.desk import Desk
from gputally.collector.auth.reader import Reader, Readers
from gputally.collector.database.deadline import reading_within
from gputally.collector.ledger.postings import catch_up, pending

SETTLE_AT_MOST = 512  # pairs of hour and node for one question; the settler does the rest, the answer says how many
DEADLINE_S = 30.0

Answer = TypeVar("Answer")
StatusOf = Callable[[Connection, Period], str]


def never_closed(_connection: Connection, _period: Period) -> str:
    """The status of a period where no month is ever closed."""
    return "open"


@dataclass(frozen=True, slots=True)
class Service:
    """`zone` is the billing time zone; `now_us` the wall clock, microseconds since the epoch.

    `status_of` says whether a period is open, closed or partly closed.
    """

    engine: Engine
    zone: ZoneInfo
    readers: Readers
    desk: Desk
    now_us: Callable[[], int]
    status_of: StatusOf = never_closed
    deadline_s: float = DEADLINE_S

    async def allocation(self, query: Query) -> tuple[Allocation, str]:
        """The ledger's answer and its period's status; raises QueryError, Busy, TooSlow."""
        query.check(self.zone)
        return await self.desk.answer(partial(self._allocation, query))

    async def read(self, question: Callable[[Connection], Answer]) -> Answer:
        """What a question finds in the database; raises Busy, TooSlow."""
        return await self.desk.answer(partial(self._read, question))

    async def settled(self, question: Callable[[Connection], Answer]) -> Answer:
        """The same, after what arrived was settled."""
        return await self.desk.answer(partial(self._settled, question))

    def _allocation(self, query: Query) -> tuple[Allocation, str]:
        return self._settled(lambda connection: self._both(connection, query))

    def _settled(self, question: Callable[[Connection], Answer]) -> Answer:
        with reading_within(self.engine, self.deadline_s) as connection:
            if not pending(connection):
                return question(connection)
        catch_up(self.engine, self.zone, SETTLE_AT_MOST)
        return self._read(question)

    def _both(self, connection: Connection, query: Query) -> tuple[Allocation, str]:
        return read_allocation(connection, self.zone, query), self.status_of(connection, query.period)

    def _read(self, question: Callable[[Connection], Answer]) -> Answer:
        with reading_within(self.engine, self.deadline_s) as connection:
            return question(connection)


async def service_of(request: Request) -> Service:
    """The service that the application was made with. Not a plain function, which would be run on another thread."""
    found: Service = request.app.state.service
    return found


async def reader_of(request: Request) -> Reader:
    """Who asks; raises Unauthenticated, Forbidden, Undecided."""
    return await (await service_of(request)).readers.authenticate(request.headers.get("Authorization"))


def scope_of(reader: Reader) -> Scope:
    """What a reader may see, as a query takes it."""
    return Scope(reader.namespaces, reader.clusters)


TheService = Annotated[Service, Depends(service_of)]
TheReader = Annotated[Reader, Depends(reader_of)]
