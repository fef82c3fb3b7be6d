"""Reading the ledger: the postings of a period, summed by what the reader asks for.

Every row has one kind of owner, so that time nobody held never hides in a namespace's row. Sums are the database's,
in integers: I5 (disjoint periods add up) and I6 (every grouping has the same total) hold to the microsecond.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, RowMapping, Select, case, func, select, union
from sqlalchemy.sql.elements import ColumnElement

from gputally.accounting.ledger_hour import hour_start
from gputally.accounting.states import Basis
from gputally.collector import schema
from gputally.collector.database import reading
from gputally.collector.ledger import settle

TOTAL = "total"  # what stands for the owner in the total


class By(StrEnum):
    """What a report can be grouped by."""

    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    NODE = "node"
    MODEL = "model"
    POD = "pod"


class ZoneMismatch(ValueError):
    """The ledger's hours are not hours of the zone that the reader asked for."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """Time in microseconds, energy in millijoules; an energy of None is unknown, which is not 0.

    `burst_us` and `intruder_us` are memos outside the identity of the states.
    """

    used_us: int = 0
    idle_us: int = 0
    unallocated_us: int = 0
    unavailable_us: int = 0
    unobserved_us: int = 0
    reserved_us: int = 0
    burst_us: int = 0
    intruder_us: int = 0
    energy_mj: int | None = None

    @property
    def capacity_us(self) -> int:
        """The five states together (I1)."""
        return self.used_us + self.idle_us + self.unallocated_us + self.unavailable_us + self.unobserved_us

    @property
    def coverage(self) -> float | None:
        """The part of the capacity that was observed, 0 to 1; None where there is no capacity."""
        return 1 - self.unobserved_us / self.capacity_us if self.capacity_us else None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a report. `keys` follow the report's `by`; `owner` is pod, host or platform (or `total`)."""

    keys: tuple[str, ...]
    owner: str
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class Report:
    """What a period's postings hold, the largest capacity first; `total` is the sum of the rows."""

    start_us: int
    end_us: int
    zone: ZoneInfo
    by: tuple[By, ...]
    rows: tuple[Row, ...]

    @property
    def total(self) -> Row:
        """The sum of the rows."""
        return Row(("",) * len(self.by), TOTAL, summed(row.amounts for row in self.rows))


def report(engine: Engine, zone: ZoneInfo, start_us: int, end_us: int, by: Sequence[By]) -> Report:
    """The ledger over [start_us, end_us), whole ledger hours; raises ZoneMismatch.

    What arrived and is not in the postings yet is settled first, so a report never lags behind its windows.
    """
    keys = _keys(by)
    with reading(engine) as connection:
        _check_zone(connection, zone, start_us, end_us)
    settle(engine, zone)
    with reading(engine) as connection:
        found = connection.execute(_query(keys, start_us, end_us)).mappings().all()
    rows = (_row(keys, values) for values in found)
    return Report(start_us, end_us, zone, keys, tuple(sorted(rows, key=_order)))


def summed(parts: Iterable[Amounts]) -> Amounts:
    """The sum of amounts; its energy is None only where no part's energy is known."""
    total = Amounts()
    for part in parts:
        total = _plus(total, part)
    return total


def _plus(one: Amounts, other: Amounts) -> Amounts:
    known = [energy for energy in (one.energy_mj, other.energy_mj) if energy is not None]
    return Amounts(
        one.used_us + other.used_us,
        one.idle_us + other.idle_us,
        one.unallocated_us + other.unallocated_us,
        one.unavailable_us + other.unavailable_us,
        one.unobserved_us + other.unobserved_us,
        one.reserved_us + other.reserved_us,
        one.burst_us + other.burst_us,
        one.intruder_us + other.intruder_us,
        sum(known) if known else None,
    )


def _keys(by: Sequence[By]) -> tuple[By, ...]:
    """Each key once, in the order asked for; a pod's name means something only within its namespace."""
    keys: dict[By, None] = {}
    for key in by:
        if key is By.POD:
            keys[By.NAMESPACE] = None
        keys[key] = None
    return tuple(keys)


_COLUMNS: Mapping[By, ColumnElement[str]] = {
    By.CLUSTER: schema.node.c.cluster,
    By.NAMESPACE: schema.owner.c.namespace,
    By.NODE: schema.node.c.name,
    By.MODEL: schema.device.c.model,
    By.POD: schema.owner.c.pod,
}
_TIMES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us", "burst_us", "intruder_us")


def _query(keys: Sequence[By], start_us: int, end_us: int) -> Select[*tuple[Any, ...]]:
    posting = schema.posting
    held = posting.c.used_us + posting.c.idle_us + posting.c.unobserved_us
    groups = [_COLUMNS[key].label(f"key_{key}") for key in keys]
    kind = schema.owner.c.kind.label("owner_kind")
    return (
        select(
            *groups,
            kind,
            *(func.sum(posting.c[name]).label(name) for name in (*_TIMES, "energy_idle_mj", "energy_dynamic_mj")),
            func.sum(case((posting.c.basis == Basis.RESERVATION.value, held), else_=0)).label("reserved_us"),
        )
        .join_from(posting, schema.node)
        .join(schema.device, schema.device.c.id == posting.c.device_id)
        .join(schema.owner, schema.owner.c.id == posting.c.owner_id)
        .where(posting.c.hour_us >= start_us, posting.c.hour_us < end_us)
        .group_by(*(_COLUMNS[key] for key in keys), schema.owner.c.kind)
    )


def _row(keys: Sequence[By], values: RowMapping) -> Row:
    # PostgreSQL sums bigints to numeric, so an amount may arrive as a Decimal.
    times = {name: int(str(values[name])) for name in (*_TIMES, "reserved_us")}
    energies = [
        int(str(value)) for value in (values["energy_idle_mj"], values["energy_dynamic_mj"]) if value is not None
    ]
    amounts = Amounts(**times, energy_mj=sum(energies) if energies else None)
    return Row(tuple(str(values[f"key_{key}"]) for key in keys), str(values["owner_kind"]), amounts)


def _order(row: Row) -> tuple[int, str, tuple[str, ...]]:
    return (-row.amounts.capacity_us, row.owner, row.keys)


def _check_zone(connection: Connection, zone: ZoneInfo, start_us: int, end_us: int) -> None:
    """Hours booked in a zone with another minute of the hour would fall out of the period, or into it, in part."""
    booked = (
        select(hours.c.hour_us).distinct().where(hours.c.hour_us >= start_us, hours.c.hour_us < end_us)
        for hours in (schema.posting, schema.dirty_hour)
    )
    for hour_us in connection.scalars(union(*booked)):
        if hour_start(hour_us, zone) != hour_us:
            raise ZoneMismatch(
                f"the ledger was not booked in the hours of {zone.key}: give --timezone (or GPUTALLY_TIMEZONE) the "
                "zone that gputally-collector runs with"
            )
