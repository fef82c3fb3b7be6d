"""The printed lines of a statement: time of one state, or energy, of one namespace on one model at one price."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.cells import Cell
from gputally.collector.rates.cost import rounded
from gputally.collector.statement.line import Line, Terms, payer


class Meter(StrEnum):
    """What an item counts: time in microseconds, energy in millijoules, or the energy that the building adds to it."""

    GPU = "gpu"
    ENERGY = "energy"
    OVERHEAD = "energy-overhead"


class ItemKey(NamedTuple):
    """What one item is about. `payer` is pod, host or platform; `state` is empty for energy.

    `price` is 10⁻⁹ of the currency per GPU-hour or kilowatt-hour, None where there is none. `corrects` names the
    closed month that the item corrects, and is empty for the month's own.
    """

    corrects: str
    payer: str
    team: str
    cost_center: str
    cluster: str
    namespace: str
    namespace_uid: str
    model: str
    profile: str
    meter: str
    state: str
    price: int | None
    rate_version: int | None

    @property
    def is_time(self) -> bool:
        """Whether the quantity is time."""
        return self.meter == Meter.GPU


@dataclass(frozen=True, slots=True)
class Item:
    """A printed line. `quantity` is microseconds, or millijoules; `cost` is exact, as `rates.cost` counts.

    `amount` is the cost in the smallest unit of the currency, rounded so that all items of the month add up to their
    exact total rounded once. Both are None where the item is unpriced.
    """

    key: ItemKey
    quantity: int
    cost: int | None
    amount: int | None


class Items:
    """Adds cells and lines up to items."""

    def __init__(self) -> None:
        self._sums: dict[ItemKey, int] = defaultdict(int)

    def add_cell(self, cell: Cell, terms: Terms) -> None:
        """Add postings that the database has summed already."""
        place = cell.place
        base = _key("", place.cluster, place.namespace or "", place.model, place.profile, terms)
        energy_mj = cell.amounts[CELL_ENERGY]
        states = [us or 0 for us in cell.amounts[: len(State)]]
        self._add(base, cell.kind, states, energy_mj, terms)

    def add_correction(self, line: Line, month: str) -> None:
        """Add a line that corrects a closed month."""
        of = line.holding
        namespace = of.namespace if of.kind == OwnerKind.POD else ""
        base = _key(month, of.cluster, namespace, of.model, of.profile, line.terms)
        self._add(base, OwnerKind(of.kind), line.amounts.states, line.amounts.energy_mj, line.terms)

    def _add(self, base: ItemKey, kind: OwnerKind, states: Sequence[int], energy_mj: int | None, terms: Terms) -> None:
        for state, us in zip(State, states, strict=True):
            if us:
                who = payer(kind, state)
                key = base if who is OwnerKind.POD else _nobody(base)
                self._sums[key._replace(payer=who.value, state=state.value)] += us
        if energy_mj:
            self._add_energy(base if kind is OwnerKind.POD else _nobody(base), kind, energy_mj, terms)

    def _add_energy(self, base: ItemKey, kind: OwnerKind, mj: int, terms: Terms) -> None:
        for meter, price in ((Meter.ENERGY, terms.kwh_price), (Meter.OVERHEAD, terms.overhead_price)):
            if price is not None:
                key = base._replace(payer=kind.value, meter=meter.value, state="", price=price)
                self._sums[key] += mj

    def items(self, digits: int) -> tuple[Item, ...]:
        """The items in their order: the month's own before corrections, owners before the platform."""
        keys = sorted((key for key, quantity in self._sums.items() if quantity), key=_order)
        costs = [None if key.price is None else self._sums[key] * key.price for key in keys]
        amounts = iter(rounded([cost for cost in costs if cost is not None], digits))
        return tuple(
            Item(key, self._sums[key], cost, None if cost is None else next(amounts))
            for key, cost in zip(keys, costs, strict=True)
        )


def _key(corrects: str, cluster: str, namespace: str, model: str, profile: str, terms: Terms) -> ItemKey:
    return ItemKey(
        corrects,
        "",
        terms.team or "",
        terms.cost_center or "",
        cluster,
        namespace,
        terms.namespace_uid,
        model,
        profile,
        Meter.GPU.value,
        "",
        terms.price,
        terms.rate_version,
    )


def _nobody(key: ItemKey) -> ItemKey:
    """The same for an owner without a namespace."""
    return key._replace(team="", cost_center="", namespace="", namespace_uid="")


CELL_ENERGY = Amounts._fields.index("energy_mj")
_PAYERS = {kind.value: at for at, kind in enumerate(OwnerKind)}
_STATES = {"": len(State), **{state.value: at for at, state in enumerate(State)}}
_METERS = {meter.value: at for at, meter in enumerate(Meter)}


def _order(key: ItemKey) -> tuple[object, ...]:
    """Teams that are known before those that are not; prices last, None before any."""
    return (
        *(key.corrects, _PAYERS[key.payer], not key.team, key.team, key.cluster, key.namespace, key.namespace_uid),
        *(key.cost_center, key.model, key.profile, _METERS[key.meter], _STATES[key.state]),
        *(key.price is not None, key.price or 0, key.rate_version or 0),
    )
