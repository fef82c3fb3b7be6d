"""The carbon of a month by who holds the energy: told beside the money, and in none of it."""

from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.statement.month import Month


class Emission(NamedTuple):
    """Of one namespace in one team, of hosts or of the platform (`payer`), in the month's own time.

    `carbon` is CO₂e as `rates.cost` counts it, None where it is not known; `no_factor_mj` is energy that is not in it.
    """

    payer: str
    team: str
    cluster: str
    namespace: str
    carbon: int | None
    no_factor_mj: int


def read_emissions(connection: Connection, zone: ZoneInfo, month: Month) -> tuple[Emission, ...]:
    """The carbon of a month, from the postings as they are; what corrects an earlier month is not in it."""
    found = read_allocation(connection, zone, Query(month.period, zone, (By.CLUSTER, By.NAMESPACE, By.TEAM)))
    lines = []
    for row in found.rows:
        cluster, namespace, team = row.keys
        money = row.money
        if money.carbon is not None or money.no_factor_mj:
            lines.append(Emission(row.owner, team, cluster, namespace, money.carbon, money.no_factor_mj))
    return tuple(sorted(lines, key=lambda line: line[:4]))


def carbon_of(emissions: Sequence[Emission]) -> int | None:
    """The sum of what is known; None where nothing is."""
    known = [one.carbon for one in emissions if one.carbon is not None]
    return sum(known) if known else None
