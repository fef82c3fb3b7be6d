"""A statement as a JSON document, and back. A closed month's is frozen byte for byte: its hash is the file's."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import to_us
from gputally.collector.allocation.money import grams
from gputally.collector.allocation.period import instant
from gputally.collector.allocation.query import Spread
from gputally.collector.rates.card import NANO, exact
from gputally.collector.statement.content import Closing, RateVersion, Statement
from gputally.collector.statement.emission import Emission, carbon_of
from gputally.collector.statement.idle import Workload
from gputally.collector.statement.item import Item, ItemKey
from gputally.collector.statement.rounding import DIGITS, fixed, hours
from gputally.collector.statement.unmetered import Unmetered
from gputally.collector.statement.view import Share, View
from gputally.collector.statement.waste import Lost, MonthWaste

Json = dict[str, Any]


def as_json(view: View) -> str:
    """One JSON object. Amounts and hours are decimals in text; `exact` is the cost in 1/3.6×10¹⁸ of the currency.

    Unknown is null: a price and an amount of null mean unpriced, which is not 0. `no_energy` is the time whose energy
    is in no sum. A month that was closed before kinds of waste were told has no version, and version 2 does not tell
    of that time; what such a month says is said as then.
    """
    return json.dumps(as_object(view), indent=1, ensure_ascii=False) + "\n"


def as_object(view: View) -> Json:
    """The same, before it is written as text."""
    of = view.statement
    zone = ZoneInfo(of.zone)
    capacity_us = view.capacity_us
    return {
        "statement": of.month,
        **({} if of.waste is None else {"version": 2 if of.unmetered is None else 3}),
        "status": "open" if of.closing is None else "closed",
        "timezone": of.zone,
        "from": instant(of.start_us, zone),
        "to": instant(of.end_us, zone),
        **_part(view),
        "currency": of.currency or None,
        "amount": amount_text(view.amount, of.digits),
        "unpriced_us": view.unpriced_us,
        "capacity_us": capacity_us,
        "coverage": 1 - view.unobserved_us / capacity_us if capacity_us else None,
        **({"energy_mj": of.energy_mj} if view.who.everybody else {}),
        **({} if of.unmetered is None else {"no_energy": _no_energy(view.unmetered)}),
        **({"carbon": _carbon(view.emissions)} if view.emissions else {}),
        "pending_hours": view.pending,
        "rates": [_rate(one, zone, view.sees_all) for one in of.rates],
        "closed": None if of.closing is None else _closing(of.closing, zone, view.sees_all),
        "items": [_item(item, text, of.digits) for item, text in zip(view.items, view.hours(DIGITS), strict=True)],
        **({} if view.spread is Spread.NONE else {"shares": [_share(one, of.digits) for one in view.shares]}),
        "idle_workloads": [_workload(one) for one in (of.workloads if view.who.everybody else view.workloads)],
        **({} if of.waste is None else _waste(view, of.waste)),
    }


def digest(document: str) -> str:
    """The content hash of a document: SHA-256 of its bytes, as sha256sum prints it."""
    return hashlib.sha256(document.encode()).hexdigest()


def from_json(document: str) -> Statement:
    """The whole statement that a document holds."""
    found: Json = json.loads(document)
    return Statement(
        found["statement"],
        found["timezone"],
        _us(found["from"]),
        _us(found["to"]),
        found["currency"] or "",
        tuple(_read_item(item) for item in found["items"]),
        tuple(_read_workload(one) for one in found["idle_workloads"]),
        tuple(RateVersion(one["version"], _us(one["applied"]), one["content_hash"]) for one in found["rates"]),
        found["energy_mj"],
        found["pending_hours"],
        None if found["closed"] is None else _read_closing(found["closed"]),
        tuple(_read_emission(one) for one in found.get("carbon", {}).get("lines", ())),
        _read_waste(found) if "waste" in found else None,
        tuple(Unmetered(**one) for one in found["no_energy"]["lines"]) if "no_energy" in found else None,
    )


def amount_text(units: int | None, digits: int) -> str | None:
    """An amount in the smallest unit of the currency as a decimal; None stays unknown."""
    return None if units is None else fixed(units, digits)


def _part(view: View) -> Json:
    asked = {"namespace": view.who.namespace, "team": view.who.team, "spread": view.spread.value}
    return {name: value for name, value in asked.items() if value not in (None, Spread.NONE.value)}


def _rate(one: RateVersion, zone: ZoneInfo, whole: bool) -> Json:
    content_hash = one.content_hash if whole else None
    return {"version": one.version, "applied": instant(one.applied_us, zone), "content_hash": content_hash}


def _item(item: Item, text: str, digits: int) -> Json:
    key = item.key
    return {
        **{name: value for name, value in key._asdict().items() if name not in ("price", "rate_version")},
        **({"us": item.quantity, "gpu_hours": text} if key.is_time else {"mj": item.quantity, "kwh": text}),
        "price": None if key.price is None else exact(key.price),
        "rate_version": key.rate_version,
        "amount": amount_text(item.amount, digits),
        "exact": None if item.cost is None else str(item.cost),
    }


def _workload(one: Workload) -> Json:
    return {**asdict(one), "gpu_hours": hours([one.idle_us], DIGITS)[0], "cost": str(one.cost)}


def _waste(view: View, of: MonthWaste) -> Json:
    workloads = of.workloads if view.who.everybody else view.losses
    return {
        "waste": [_lost(one) for one in workloads],
        "waste_kinds": [_lost(one, without=("workload",)) for one in view.waste_kinds],
    }


def _lost(one: Lost, without: Sequence[str] = ()) -> Json:
    found = {**one._asdict(), "gpu_hours": hours([one.us], DIGITS)[0], "cost": str(one.cost)}
    return {name: value for name, value in found.items() if name not in without}


def _no_energy(unmetered: Sequence[Unmetered]) -> Json:
    return {"us": sum(one.us for one in unmetered), "lines": [one._asdict() for one in unmetered]}


def _carbon(emissions: Sequence[Emission]) -> Json:
    """Grams of CO2e; `exact` is in 1/3.6×10²⁷ of a gram."""
    texts = grams([one.carbon for one in emissions])
    return {
        "carbon_g": grams([carbon_of(emissions)])[0],
        "no_factor_mj": sum(one.no_factor_mj for one in emissions),
        "lines": [_emission(one, text) for one, text in zip(emissions, texts, strict=True)],
    }


def _emission(one: Emission, text: str | None) -> Json:
    names = {name: value for name, value in one._asdict().items() if name != "carbon"}
    return {**names, "carbon_g": text, "exact": None if one.carbon is None else str(one.carbon)}


def _read_emission(found: Mapping[str, Any]) -> Emission:
    names = {name: found[name] for name in Emission._fields if name != "carbon"}
    return Emission(**names, carbon=None if found["exact"] is None else int(found["exact"]))


def _read_waste(found: Mapping[str, Any]) -> MonthWaste:
    return MonthWaste(
        tuple(_read_lost({"workload": "", **one}) for one in found["waste_kinds"]),
        tuple(_read_lost(one) for one in found["waste"]),
    )


def _read_lost(found: Mapping[str, Any]) -> Lost:
    return Lost(**{name: found[name] for name in Lost._fields} | {"cost": int(found["cost"])})


def _share(one: Share, digits: int) -> Json:
    return {**asdict(one), "cost": str(one.cost), "amount": amount_text(one.amount, digits)}


def _closing(closing: Closing, zone: ZoneInfo, whole: bool) -> Json:
    return {
        "at": instant(closing.closed_us, zone),
        "by": closing.closed_by,
        "allowed": list(closing.allowed),
        "lines": closing.lines if whole else None,
        "lines_hash": closing.lines_hash if whole else None,
    }


def _read_item(found: Mapping[str, Any]) -> Item:
    names = {name: found[name] for name in ItemKey._fields if name != "price"}
    price = None if found["price"] is None else int(Decimal(found["price"]) * NANO)
    key = ItemKey(**names, price=price)
    cost = None if found["exact"] is None else int(found["exact"])
    units = None if found["amount"] is None else int(found["amount"].replace(".", ""))
    return Item(key, found["us"] if key.is_time else found["mj"], cost, units)


def _read_workload(found: Mapping[str, Any]) -> Workload:
    named = {name: value for name, value in found.items() if name not in ("gpu_hours", "cost")}
    return Workload(**named, cost=int(found["cost"]))


def _read_closing(found: Mapping[str, Any]) -> Closing:
    allowed = tuple(found["allowed"])
    return Closing(_us(found["at"]), found["by"], allowed, found["lines"], found["lines_hash"])


def _us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))
