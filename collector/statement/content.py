"""A statement: what a billing month comes to, as it stands now or as it was closed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from gputally.collector.allocation.allocation import pending_in
from gputally.collector.allocation.cells import read_cells
from gputally.collector.allocation.nodes import read_nodes_alike
from gputally.collector.allocation.plan import detail
from gputally.collector.allocation.query import WHOLE, Query, Scope
from gputally.collector.allocation.read_plan import read_plan
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Applied, Kind, version
from gputally.collector.ledger.postings import catch_up
from gputally.collector.rates.card import Quantity
from gputally.collector.statement.corrections import corrections
from gputally.collector.statement.currency import decimals
from gputally.collector.statement.emission import Emission, read_emissions
from gputally.collector.statement.idle import Workload, idle_workloads
from gputally.collector.statement.item import Item, Items
from gputally.collector.statement.month import Month, month_name
from gputally.collector.statement.register import check_zone, closed_months, takes_corrections
from gputally.collector.statement.terms import TermsBook, read_terms
from gputally.collector.statement.unmetered import Energies, Unmetered
from gputally.collector.statement.waste import MonthWaste, read_month_waste


@dataclass(frozen=True, slots=True)
class RateVersion:
    """A rate card that priced something of the month."""

    version: int
    applied_us: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class Closing:
    """How a month was closed: when, by whom, in spite of what, and the lines that were frozen with it."""

    closed_us: int
    closed_by: str
    allowed: tuple[str, ...]
    lines: int
    lines_hash: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A month. `currency` is empty where no rate card was applied; `pending` counts hours of nodes not yet settled.

    `workloads` are the dearest idle ones of each namespace and team, the dearest first. `energy_mj` is None where
    none was measured. `closing` is None while the month is open. `emissions` is empty where the card has no factor of
    carbon, and of months that were closed before it was told. `waste` is None of months that were closed before it was
    told by kind, and where there were too many workloads. `unmetered` is the time whose energy is in no sum, None of
    months that were closed before it was told.
    """

    month: str
    zone: str
    start_us: int
    end_us: int
    currency: str
    items: tuple[Item, ...]
    workloads: tuple[Workload, ...]
    rates: tuple[RateVersion, ...]
    energy_mj: int | None
    pending: int
    closing: Closing | None = None
    emissions: tuple[Emission, ...] = ()
    waste: MonthWaste | None = None
    unmetered: tuple[Unmetered, ...] | None = None

    @property
    def digits(self) -> int:
        """Decimals of an amount."""
        return decimals(self.currency)


def read_open(engine: Engine, zone: ZoneInfo, month: Month) -> Statement:
    """The statement of a month as it would be closed now; raises ZoneChanged and QueryError.

    What arrived and is not in the postings yet is settled first.
    """
    catch_up(engine, zone)
    with reading(engine) as connection:
        return draw_up(connection, zone, month)


def draw_up(connection: Connection, zone: ZoneInfo, month: Month, scope: Scope = WHOLE) -> Statement:
    """The same from the postings as they are; all of it sees one state of the database.

    It is the whole, whoever asks, but for `pending`, which counts what `scope` may see.
    """
    closed = closed_months(connection)
    check_zone(closed, zone)
    book = read_terms(connection, zone)
    needed = detail((), by_node=book.pricer.asks_labels)
    plan = read_plan(connection, month.period, (month.start_us,), book.changes(month.period), needed)
    nodes = read_nodes_alike(connection, book.pricer, month.period)
    items, energy = Items(), Energies()
    for cell in read_cells(connection, Query(month.period, zone), plan, nodes):
        terms = book.at(cell.place, plan.pieces.edges[cell.piece])
        items.add_cell(cell, terms)
        energy.add_cell(cell, terms)
    if takes_corrections(closed, month.start_us):
        for line in corrections(connection, zone, closed):
            items.add_correction(line, month_name(line.hour_us, zone))
            energy.add(line.amounts.energy_mj)
    currency = book.pricer.currency or ""
    found = items.items(decimals(currency))
    return Statement(
        month.name,
        zone.key,
        month.start_us,
        month.end_us,
        currency,
        found,
        idle_workloads(connection, month.period, book),
        _rates(connection, book, found),
        energy.mj,
        pending_in(connection, month.period, scope),
        emissions=read_emissions(connection, zone, month) if book.pricer.has(Quantity.CARBON) else (),
        waste=read_month_waste(connection, zone, month),
        unmetered=energy.unmetered,
    )


def _rates(connection: Connection, book: TermsBook, items: Iterable[Item]) -> tuple[RateVersion, ...]:
    """The versions that priced the items, and the one that holds."""
    numbers = {item.key.rate_version for item in items if item.key.rate_version is not None}
    if book.pricer.card is not None:
        numbers.add(book.pricer.card.version)
    found: Sequence[Applied | None] = [version(connection, Kind.RATES, number) for number in sorted(numbers)]
    return tuple(RateVersion(one.version, one.applied_us, one.content_hash.hex()) for one in found if one)
