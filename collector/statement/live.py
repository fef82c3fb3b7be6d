"""The lines of an open month: its postings as they are now, with the terms that hold now."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from gputally.collector.allocation.period import Period
from gputally.collector.allocation.sources import POSTINGS
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.statement.line import Amounts, Holding, Line
from gputally.collector.statement.terms import TermsBook

BATCH = 2_000  # rows that are in memory at a time

_HOLDING = (
    *(node.c.cluster, node.c.name, device.c.uuid, device.c.model, posting.c.partition, posting.c.profile),
    *(owner.c.kind, owner.c.namespace, owner.c.pod, owner.c.container, owner.c.pod_uid, owner.c.first_seen_us),
    *(owner.c.user, owner.c.unit, posting.c.basis, posting.c.reason),
)
_KEY = tuple(posting.primary_key.columns)
_NAMES = len(Holding._fields)
_POSTINGS = (
    select(posting.c.hour_us, *_HOLDING, *(posting.c[name] for name in Amounts._fields))
    .select_from(POSTINGS.names())
    .order_by(*_KEY)
    .execution_options(yield_per=BATCH)
)


def live_lines(connection: Connection, period: Period, book: TermsBook) -> Iterator[Line]:
    """The postings of a period, priced, by hour; a few at a time, whatever their number."""
    hour = posting.c.hour_us
    for row in connection.execute(_POSTINGS.where(hour >= period.start_us, hour < period.end_us)):
        holding = Holding._make(row[1 : 1 + _NAMES])
        terms = book.at(holding.place, row[0])
        yield Line(row[0], holding, terms, Amounts._make(row[1 + _NAMES :]))
