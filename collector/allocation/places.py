"""How many prices there may be at a time: the kinds of devices in the hands of each namespace."""

from sqlalchemy import Connection, Select, func, select

from gputally.collector.allocation.cells import SOURCES
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.plan import Detail, Part, parts, uncut
from gputally.collector.allocation.read_plan import read_summed

_NAMES = (By.CLUSTER, By.KIND, By.NAMESPACE, By.MODEL, By.PROFILE)


def count_places(connection: Connection, period: Period) -> int:
    """The places of a period; some are counted twice where it is read from several tables."""
    days = uncut(period, (period.start_us,), read_summed(connection, period))
    return sum(connection.execute(_count(part)).scalar_one() for part in parts(period, Detail.NAMESPACE, days))


def _count(part: Part) -> Select[int]:
    source = SOURCES[part.detail]
    own = [column for key in _NAMES if (column := source.columns[key]).table is source.table]
    ids = select(*source.pointers.values(), *own).where(source.within(part.spans)).distinct().subquery()
    names = [ids.c[column.name] if (column := source.columns[key]).table is source.table else column for key in _NAMES]
    found = select(*names)
    for table, pointer in source.pointers.items():
        found = found.join_from(ids, table, table.c.id == ids.c[pointer.name])
    return select(func.count()).select_from(found.distinct().subquery())
