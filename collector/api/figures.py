"""From the ledger's rows to the API's: costs of a column add up, whatever page of it is sent."""

from collections.abc import Callable, Mapping, Sequence
from operator import add, truediv
from typing import Any

from gputally.accounting.states import State
from gputally.collector.allocation.allocation import Allocation
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.columns import Column
from gputally.collector.allocation.costs import Costs, costs_of
from gputally.collector.allocation.money import Money, column, grams
from gputally.collector.allocation.period import Period, instant
from gputally.collector.allocation.query import Query
from gputally.collector.allocation.table import Row
from gputally.collector.api import models

_TIMES = (
    *("capacity_us", "used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us"),
    *("reserved_us", "burst_us", "intruder_us", "gap_us", "coverage", "efficiency", "energy_mj", "memory_byte_s"),
)
_QUALITY = {  # of models.Quality, and of Amounts
    "sm_activity": "sm_us",
    "sm_occupancy": "occupancy_us",
    "tensor_activity": "tensor_us",
    "memory_bandwidth": "dram_us",
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
    table = found.table
    steps = {id(step): step for step in table.steps[page]}  # of which there are few, and rows have the very same
    spans = {at: span(step, found.query) for at, step in steps.items()}
    names = [key.value for key in found.query.keys]
    return {
        "step": [spans[id(step)] for step in table.steps[page]],
        "keys": [dict(zip(names, keys, strict=True)) for keys in table.keys[page]],
        "owner": table.owners[page],
        **_amounts([column[page] for column in table.amounts], apart=found.query.splits_states),
        **_costs(table.costs, page),
        "shared_us": table.shared_us[page],
    }


def columns(parts: Sequence[tuple[Amounts, Money]]) -> list[dict[str, Any]]:
    """The figures of some rows of their own, such as the pods of a workload; each column of costs adds up."""
    columns = {
        **_amounts(_columns([amounts for amounts, _ in parts]), apart=False),
        **_costs(costs_of([money for _, money in parts])),
        "shared_us": [0] * len(parts),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def total(found: Allocation) -> models.Figures:
    """The figures of all rows together."""
    columns = {
        **_amounts(_columns([found.amounts]), apart=len(found.query.states) < len(State)),
        **_costs(costs_of([found.money])),
        "shared_us": [sum(found.table.shared_us)],
    }
    return models.Figures(**{name: value for name, (value,) in columns.items()})


def _columns(rows: Sequence[Amounts]) -> Sequence[Column]:
    return list(zip(*rows, strict=True)) or [()] * len(Amounts._fields)


def _amounts(columns: Sequence[Column], *, apart: bool) -> dict[str, Sequence[Any]]:
    """Out of columns as Amounts has them. With some states `apart`, what is of all states together is not known."""
    found: dict[str, Sequence[Any]] = dict(zip(Amounts._fields, columns, strict=True))
    found["capacity_us"] = list(map(sum, zip(*columns[: len(State)], strict=True)))
    found["coverage"] = _parts_of(found["unobserved_us"], found["capacity_us"], lambda part, whole: 1 - part / whole)
    measured_us = list(map(add, found["used_us"], found["idle_us"]))
    found["efficiency"] = _parts_of(found["used_us"], measured_us, truediv)
    unknown = [None] * len(measured_us)
    times = {name: unknown if apart and name in _TOGETHER else found[name] for name in _TIMES}
    return {**times, "quality": _qualities(found)}


def _parts_of(parts: Sequence[int], wholes: Sequence[int], told: Callable[[int, int], float]) -> list[float | None]:
    """None where there is no whole."""
    return [told(part, whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]


def _qualities(found: Mapping[str, Sequence[Any]]) -> Sequence[models.Quality | None]:
    """Each figure over the time that it was measured in."""
    measured_us = found["quality_us"]
    if not any(measured_us):
        return [None] * len(measured_us)
    every = zip(measured_us, *(found[name] for name in _QUALITY.values()), strict=True)
    return [_quality(*row) if row[0] else None for row in every]


def _quality(measured_us: int, *parts: int | None) -> models.Quality:
    told = {name: None if us is None else us / measured_us for name, us in zip(_QUALITY, parts, strict=True)}
    return models.Quality(measured_us=measured_us, **told)


def _costs(costs: Costs, page: slice = _ALL) -> dict[str, Sequence[Any]]:
    """The costs of the rows of a page; each column adds up to its sum over all rows, rounded once."""
    whole = costs.cost
    shared = [given if given or cost is not None else None for given, cost in zip(costs.shared, whole, strict=True)]
    of = {
        "cost": whole,
        **{f"{state}_cost": costs.of_state(at) for at, state in enumerate(State)},
        "energy_cost": costs.energy,
        "overhead_cost": costs.overhead,
        "shared_cost": shared,
    }
    columns: dict[str, Sequence[Any]] = {name: column(amounts, page) for name, amounts in of.items()}
    rest = {"unpriced_us": costs.unpriced_us[page], "no_factor_mj": costs.no_factor_mj[page]}
    return {**columns, "carbon_g": grams(costs.carbon, page), **rest}
