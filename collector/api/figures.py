"""From the ledger's rows to the API's: costs of a column add up, whatever page of it is sent."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from gputally.accounting.states import State
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.money import Money, column, grams
from gputally.collector.allocation.period import Period, instant
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.sheet import Row
from gputally.collector.api import models

_TIMES = {
    name: attrgetter(name)
    for name in (
        *("capacity_us", "used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us"),
        *("reserved_us", "burst_us", "intruder_us", "gap_us", "coverage", "efficiency", "energy_mj", "memory_byte_s"),
    )
}
_ALL = slice(None)
_TOGETHER = frozenset({"reserved_us", "burst_us", "intruder_us", "gap_us", "coverage", "efficiency"})


def about(found: Allocation, status: str, total_rows: int) -> dict[str, Any]:
    """The fields that every answer has."""
    query = found.query
    return {
        "window": span(query.period, query),
        "timezone": query.zone.key,
        "currency": found.currency or None,
        "capacity_us": found.everything.capacity_us,
        "coverage": found.everything.coverage,
        "unpriced_us": found.money.unpriced_us,
        "period": models.Status(status=status, pending_hours=found.ground.pending),
        "ledger_hash": found.ground.ledger_hash,
        "total_rows": total_rows,
    }


def span(period: Period, query: Query) -> models.Span:
    """A period as text."""
    return models.Span(start=instant(period.start_us, query.zone), end=instant(period.end_us, query.zone))


def named(row: Row, query: Query) -> dict[str, str]:
    """A row's names by their keys."""
    return dict(zip((key.value for key in query.keys), row.keys, strict=True))


def rows(found: Allocation, page: slice) -> list[models.Row]:
    """A page of an allocation's rows."""
    columns = row_columns(found, page)
    return [models.Row(**dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]


def row_columns(found: Allocation, page: slice) -> dict[str, Sequence[Any]]:
    """The fields of models.Row, each with its values on a page: a fleet's rows are made much faster by columns."""
    shown = found.rows[page]
    spans = {step: span(step, found.query) for step in {row.step for row in shown}}
    names = [key.value for key in found.query.keys]
    return {
        "step": [spans[row.step] for row in shown],
        "keys": [dict(zip(names, row.keys, strict=True)) for row in shown],
        "owner": [row.owner for row in shown],
        **_amounts([row.amounts for row in shown], apart=found.query.splits_states),
        **_costs([row.money for row in found.rows], page),
        "unpriced_us": [row.money.unpriced_us for row in shown],
        "no_factor_mj": [row.money.no_factor_mj for row in shown],
        "shared_us": [row.shared_us for row in shown],
    }


def columns(parts: Sequence[tuple[Amounts, Money]]) -> list[dict[str, Any]]:
    """The figures of some rows of their own, such as the pods of a workload; each column of costs adds up."""
    moneys = [money for _, money in parts]
    columns = {
        **_amounts([amounts for amounts, _ in parts], apart=False),
        **_costs(moneys),
        "unpriced_us": [money.unpriced_us for money in moneys],
        "no_factor_mj": [money.no_factor_mj for money in moneys],
        "shared_us": [0] * len(parts),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def total(found: Allocation) -> models.Figures:
    """The figures of all rows together."""
    columns = {
        **_amounts([found.amounts], apart=len(found.query.states) < len(State)),
        **_costs([found.money]),
        "unpriced_us": [found.money.unpriced_us],
        "no_factor_mj": [found.money.no_factor_mj],
        "shared_us": [sum(row.shared_us for row in found.rows)],
    }
    return models.Figures(**{name: value for name, (value,) in columns.items()})


def _amounts(found: Sequence[Amounts], *, apart: bool) -> dict[str, Sequence[Any]]:
    """With some states `apart`, what is of all states together is not known."""
    unknown = [None] * len(found)
    times = {name: unknown if apart and name in _TOGETHER else list(map(get, found)) for name, get in _TIMES.items()}
    return {**times, "quality": [_quality(amounts) for amounts in found]}


def _quality(amounts: Amounts) -> models.Quality | None:
    if not amounts.quality_us:
        return None
    return models.Quality(
        measured_us=amounts.quality_us,
        sm_activity=amounts.quality("sm_us"),
        sm_occupancy=amounts.quality("occupancy_us"),
        tensor_activity=amounts.quality("tensor_us"),
        memory_bandwidth=amounts.quality("dram_us"),
    )


def _costs(moneys: Sequence[Money], page: slice = _ALL) -> dict[str, Sequence[Any]]:
    """The costs of the rows of a page; each column adds up to its sum over all rows, rounded once."""
    whole = [money.cost for money in moneys]
    shared = [
        None if cost is None and not money.shared else money.shared for cost, money in zip(whole, moneys, strict=True)
    ]
    costs = {
        "cost": whole,
        **{f"{state}_cost": _of_state(moneys, at, whole) for at, state in enumerate(State)},
        "energy_cost": [money.energy for money in moneys],
        "overhead_cost": [money.overhead for money in moneys],
        "shared_cost": shared,
    }
    columns: dict[str, Sequence[Any]] = {name: column(of, page) for name, of in costs.items()}
    return columns | {"carbon_g": grams([money.carbon for money in moneys], page)}


def _of_state(moneys: Sequence[Money], at: int, whole: Sequence[int | None]) -> list[int | None]:
    """None where nothing of the row has a price."""
    return [
        money.by_state[at] or (None if cost is None else money.of_state(at))
        for money, cost in zip(moneys, whole, strict=True)
    ]
