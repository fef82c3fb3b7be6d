"""A statement in words and figures, as the table and the page print it."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.period import instant
from gputally.collector.allocation.query import Spread
from gputally.collector.jobs.wasted import called
from gputally.collector.rates.card import exact
from gputally.collector.rates.cost import CARBON_SCALE, rounded
from gputally.collector.statement.emission import carbon_of
from gputally.collector.statement.item import ItemKey, Meter
from gputally.collector.statement.rounding import fixed, hours
from gputally.collector.statement.view import View
from gputally.collector.statement.waste import Lost as Loss
from gputally.collector.statement.waste import added
from gputally.collector.waste.kind import Kind

UNKNOWN = "–"  # printed for what is not known; never 0
UNPRICED = "unpriced"
_DIGITS = 2  # of hours and kilowatt-hours for people


class Row(NamedTuple):
    """A printed item. `section` is what it stands under; `unit` is h or kWh."""

    section: str
    team: str
    namespace: str
    device: str
    what: str
    quantity: str
    unit: str
    price: str
    amount: str


class Idle(NamedTuple):
    """A printed idle workload; `unpriced` says how much of it is in no amount, empty where nothing is, or all of it."""

    team: str
    namespace: str
    pod: str
    hours: str
    amount: str
    unpriced: str


class Lost(NamedTuple):
    """A printed loss of a workload, or of all of them; `provisional` says how much of it is, empty where nothing is.

    `unpriced` says how much of it is in no amount, empty where nothing is, or all of it.
    """

    team: str
    namespace: str
    workload: str
    kind: str
    provisional: str
    hours: str
    amount: str
    unpriced: str


def rows(view: View) -> list[Row]:
    """The items in their order, and what spreading moves."""
    names = _Names(view)
    found = [
        _row(item.key, names, text, _money(item.amount, view))
        for item, text in zip(view.items, view.hours(_DIGITS), strict=True)
    ]
    return found + list(_shares(view, names))


def summary(view: View) -> list[tuple[str, str, str]]:
    """(what, quantity, amount) of each part of the statement; the amounts add up to the total."""
    printed = rows(view)
    found = [
        _sum(view, name.value, [row for row in printed if row.section == "" and row.what == name.value])
        for name in (State.USED, State.IDLE, State.UNOBSERVED)
    ]
    rest = [("energy", [row for row in printed if row.section == "" and row.what.startswith("energy")])]
    sections = dict.fromkeys(row.section for row in printed if row.section)
    rest += [(section, [row for row in printed if row.section == section]) for section in sections]
    found += [_sum(view, name, of_name) for name, of_name in rest if of_name]
    return [one for one in found if one[1] or one[2]]


def idle(view: View) -> list[Idle]:
    """The dearest idle workloads."""
    names = _Names(view)
    times = hours([one.idle_us for one in view.workloads], _DIGITS)
    found = []
    for one, text in zip(view.workloads, times, strict=True):
        amount = rounded([one.cost], view.statement.digits)[0] if one.unpriced_us < one.idle_us else None
        namespace = names.namespace(one.cluster, one.namespace, one.namespace_uid)
        rest = _unpriced(one.unpriced_us, one.idle_us)
        found.append(Idle(one.team or UNKNOWN, namespace, one.pod, _grouped(text), _money(amount, view), rest))
    return found


def losses(view: View) -> list[Lost]:
    """The dearest losses, each of one workload and kind."""
    return _lost(view, view.losses)


def kinds(view: View) -> list[Lost]:
    """All idle time of the part by kind."""
    parts = [[one for one in view.waste_kinds if one.kind == kind] for kind in Kind]
    return _lost(view, [added(of)._replace(team="", namespace="") for of in parts if of])


def _lost(view: View, found: Sequence[Loss]) -> list[Lost]:
    names, digits = _Names(view), view.statement.digits
    times = hours([one.us for one in found], _DIGITS)
    amounts = iter(rounded([one.cost for one in found if one.unpriced_us < one.us], digits))
    return [
        Lost(
            one.team or UNKNOWN,
            names.bare(one.cluster, one.namespace),
            one.workload,
            called(Kind(one.kind)),
            _provisional(one),
            _grouped(text),
            _money(next(amounts) if one.unpriced_us < one.us else None, view),
            _unpriced(one.unpriced_us, one.us),
        )
        for one, text in zip(found, times, strict=True)
    ]


def _provisional(one: Loss) -> str:
    if not one.provisional_us:
        return ""
    if one.provisional_us == one.us:
        return "provisional"
    return f"{_grouped(hours([one.provisional_us], _DIGITS)[0])} h provisional"


def _unpriced(unpriced_us: int, us: int) -> str:
    """What an amount is without; where all is without a price there is no amount."""
    return f"and {_grouped(hours([unpriced_us], _DIGITS)[0])} h unpriced" if 0 < unpriced_us < us else ""


def total(view: View) -> str:
    """What it comes to, with the currency."""
    return f"{_money(view.amount, view)} {view.statement.currency}".rstrip()


def facts(view: View, content_hash: str | None) -> list[tuple[str, str]]:
    """What a reader has to know about the figures."""
    of, zone = view.statement, ZoneInfo(view.statement.zone)
    period = f"{instant(of.start_us, zone)} to {instant(of.end_us, zone)}, {of.zone}"
    found = [("period", period), ("coverage", _coverage(view))]
    if view.unpriced_us:
        found.append(("unpriced", f"{_grouped(hours([view.unpriced_us], _DIGITS)[0])} GPU-hours are in no amount"))
    unmetered_us = sum(one.us for one in view.unmetered)
    if unmetered_us and any(not item.key.is_time for item in of.items):
        found.append(
            ("energy", f"not measured of {_grouped(hours([unmetered_us], _DIGITS)[0])} GPU-hours, and in no amount")
        )
    if view.emissions:
        found.append(("carbon", _carbon(view)))
    if view.pending != 0:
        hours_of = "some hours" if view.pending is None else f"{view.pending} hours"
        found.append(("pending", f"{hours_of} of nodes are not settled yet"))
    rates = [f"version {one.version}" + f" ({one.content_hash[:12]})" * view.sees_all for one in of.rates]
    found.append(("rates", ", ".join(rates) or "no rate card was applied"))
    if view.spread is not Spread.NONE:
        found.append(("platform", f"spread over namespaces: {view.spread.value}; a view, which books nothing"))
    if of.closing is not None:
        allowed = f", in spite of: {', '.join(of.closing.allowed)}" if of.closing.allowed else ""
        found.append(("closed", f"{instant(of.closing.closed_us, zone)} by {of.closing.closed_by}{allowed}"))
        if view.sees_all:
            found.append(("hash", content_hash or UNKNOWN))
    return found


def title(view: View) -> str:
    """What is printed, in one line."""
    of = view.statement
    parts = [("namespace", view.who.namespace), ("team", view.who.team)]
    named = "".join(f", {kind} {name}" for kind, name in parts if name is not None)
    return f"Statement {of.month}{named} ({'open' if of.closing is None else 'closed'})"


class _Names:
    """Names of namespaces; where two had one name, a piece of the UID tells them apart."""

    def __init__(self, view: View) -> None:
        uids: dict[tuple[str, str], set[str]] = {}
        for item in view.statement.items if view.sees_all else view.items:
            uids.setdefault((item.key.cluster, item.key.namespace), set()).add(item.key.namespace_uid)
        self._twice = {name for name, of_name in uids.items() if len(of_name) > 1}
        self._clusters = len({cluster for cluster, _ in uids}) > 1

    def namespace(self, cluster: str, name: str, uid: str) -> str:
        """The name, with its cluster where there are several."""
        found = self.bare(cluster, name)
        return f"{found} #{uid[:8] or '?'}" if (cluster, name) in self._twice else found

    def bare(self, cluster: str, name: str) -> str:
        """The name of all namespaces that had it, with its cluster where there are several."""
        return f"{cluster}/{name}" if self._clusters else name

    def of(self, key: ItemKey) -> str:
        """The namespace of an item; (platform) or (host) where it has none."""
        if key.payer == OwnerKind.POD:
            return self.namespace(key.cluster, key.namespace, key.namespace_uid)
        return f"{key.cluster}/({key.payer})" if self._clusters else f"({key.payer})"


def _row(key: ItemKey, names: _Names, text: str, amount: str) -> Row:
    meters = {Meter.GPU.value: key.state, Meter.ENERGY.value: "energy", Meter.OVERHEAD.value: "energy overhead"}
    section = f"corrections of {key.corrects}" if key.corrects else "platform" if key.payer == "platform" else ""
    price = UNPRICED if key.price is None else exact(key.price)
    device = f"{key.model} {key.profile}".rstrip()
    unit = "h" if key.is_time else "kWh"
    team = key.team or (UNKNOWN if key.payer == OwnerKind.POD else "")
    return Row(section, team, names.of(key), device, meters[key.meter], _grouped(text), unit, price, amount)


def _shares(view: View, names: _Names) -> Iterator[Row]:
    times = hours([one.us for one in view.shares], _DIGITS)
    for one, text in zip(view.shares, times, strict=True):
        namespace = names.namespace(one.cluster, one.namespace, one.namespace_uid) if one.namespace else "(platform)"
        amount = _money(one.amount, view)
        yield Row("spread", one.team, namespace, "", "of the platform", _grouped(text), "h", "", amount)


def _sum(view: View, name: str, found: Iterable[Row]) -> tuple[str, str, str]:
    """Of what is printed, so that a reader who adds it up gets the same; kilowatt-hours once, not with overhead."""
    of = list(found)
    units = {row.unit for row in of}
    quantities = [Decimal(row.quantity.replace(",", "")) for row in of if row.unit == "h"]
    quantity = f"{sum(quantities, Decimal(0)):,}" if units == {"h"} else ""
    known = [Decimal(row.amount.replace(",", "")) for row in of if row.amount != UNKNOWN]
    amount = f"{sum(known, Decimal(0)):,.{view.statement.digits}f}" if known else ""
    return name, quantity, amount


def _money(units: int | None, view: View) -> str:
    return UNKNOWN if units is None else _grouped(fixed(units, view.statement.digits))


def _grouped(text: str) -> str:
    return f"{Decimal(text):,}"


def _carbon(view: View) -> str:
    carbon = carbon_of(view.emissions)
    without = sum(one.no_factor_mj for one in view.emissions)
    rest = f", without the {_grouped(hours([without], _DIGITS)[0])} kWh that have no factor" if without else ""
    kg = None if carbon is None else fixed(rounded([carbon], _DIGITS, 1000 * CARBON_SCALE)[0], _DIGITS)
    return f"{UNKNOWN if kg is None else _grouped(kg)} kg CO2e{rest}"


def _coverage(view: View) -> str:
    """Rounded down: 100 % is printed only where nothing at all is unobserved."""
    if not view.capacity_us:
        return UNKNOWN
    permille = (view.capacity_us - view.unobserved_us) * 1000 // view.capacity_us
    return f"{permille // 10}.{permille % 10} % of {_grouped(hours([view.capacity_us], _DIGITS)[0])} GPU-hours observed"
