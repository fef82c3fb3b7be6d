"""What FOCUS demands of a file, as far as public validators do not look: our own files are checked as they are written.

Products of price and quantity, UTC instants in order, units, what may be null for which charge, closed lists, one SKU
per price and one category per service, where our own columns stand, and in 1.3 that the parts of a device's hour are 1.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import lt, mul
from pathlib import Path

from gputally.collector.exports.focus_columns import Version, columns, data_type, words
from gputally.collector.exports.focus_row import Row
from gputally.collector.exports.focus_text import Facts, Rows

MOST_FINDINGS = 100

_DECIMAL = re.compile(r"-?\d+\.\d+", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_UNIT = re.compile(r"[A-Z][A-Za-z]*(-(Seconds|Minutes|Hours|Days|Months|Years))?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_KEY = re.compile(r"x_\w+|[A-Z][A-Za-z0-9]*", re.ASCII)
_NO_NULLS = frozenset({"N/A", "NA", "null", "NULL", "None", "n/a", "Not Applicable"})

# What people have called something by such a word is called so; unknown is empty there, too.
_NAMED_BY_PEOPLE = frozenset(
    words("""
    BillingAccountId BillingAccountName SubAccountName AllocatedResourceName InvoiceIssuerName ProviderName
    PublisherName HostProviderName ServiceProviderName x_Team x_CostCenter x_Namespace x_Pod x_Container x_Node
    """)
)

_NEVER_NULL = words("""
BilledCost BillingAccountId BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory ChargeDescription
ChargeFrequency ChargePeriodEnd ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName ListCost ProviderName
PublisherName ServiceCategory ServiceName
""")
_FOR_USAGE = words("""
PricingQuantity PricingUnit ListUnitPrice ContractedUnitPrice ConsumedQuantity ConsumedUnit SkuId SkuPriceId
PricingCategory
""")
_CLOSED_LISTS: Mapping[str, frozenset[str]] = {
    "ChargeCategory": frozenset({"Usage", "Purchase", "Tax", "Credit", "Adjustment"}),
    "ChargeClass": frozenset({"", "Correction"}),
    "ChargeFrequency": frozenset({"One-Time", "Recurring", "Usage-Based"}),
    "PricingCategory": frozenset({"", "Standard", "Dynamic", "Committed", "Other"}),
    "ServiceCategory": frozenset(
        {
            *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases"),
            *("Developer Tools", "Multicloud", "Identity", "Integration", "Internet of Things"),
            *("Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security", "Storage"),
            *("Web", "Other"),
        }
    ),
}

_NAMES = sorted({name for version in Version for name in columns(version)})
_DECIMALS = [name for name in _NAMES if data_type(name) == "DECIMAL"]
_INSTANTS = [name for name in _NAMES if data_type(name) == "DATETIME"]

Rule = Callable[[Mapping[str, str]], Iterator[str]]


class Checker:
    """Takes a header and rows, in order; `finish` tells what is wrong, the first MOST_FINDINGS of it."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._rows = 0
        self._findings: list[str] = []
        self._one_of: dict[tuple[str, str], str] = {}
        self._origin: tuple[str, ...] = ()
        self._ratio = Decimal(1)
        self._last_id = ""

    def header(self, names: Sequence[str]) -> None:
        """The names of the columns."""
        missing = [name for name in columns(self._version) if name not in names and not name.startswith("x_")]
        if missing:
            self._note(f"columns are missing: {', '.join(missing)}")
        own = [name.startswith("x_") for name in names]
        if own != sorted(own):
            self._note("a column of FOCUS stands after one of ours")
        if len(set(names)) != len(names):
            self._note("a column comes twice")

    def row(self, row: Mapping[str, str]) -> None:
        """The next row; a column that is absent is null."""
        self._rows += 1
        for rule in RULES:
            for finding in rule(row):
                self._note(f"row {self._rows}: {finding}")
        self._check_pairs(row)
        if row.get("x_LineId", "") <= self._last_id:
            self._note(f"row {self._rows}: x_LineId does not ascend")
        self._last_id = row.get("x_LineId", "")
        if self._version is Version.V1_3:
            self._check_ratio(row)

    def rows(self, rows: Rows) -> None:
        """Many rows: what they share is looked at once, what is each row's own by columns. Row by row they are looked
        at only where not all of them are certainly right, and in 1.3, where rows depend on each other."""
        fresh = _fresh(rows)
        if self._version is Version.V1_3 or not are_right(rows, fresh, self._last_id):
            for row in rows:
                self.row(row)
            return
        before = self._rows
        for at, first in fresh.items():
            self._rows = before + at + 1
            self._check_pairs(first)
        self._rows = before + len(rows.shapes)
        self._last_id = rows.own["x_LineId"][-1] if rows.shapes else self._last_id

    def finish(self) -> Sequence[str]:
        """Everything that is wrong; empty for a good file."""
        self._end_origin(())
        return self._findings

    def _note(self, finding: str) -> None:
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(finding)

    def _check_pairs(self, row: Mapping[str, str]) -> None:
        """What one thing has one of, in the whole file."""
        for name, other in (("SkuPriceId", "SkuId"), ("ServiceName", "ServiceCategory"), ("SkuId", "SkuMeter")):
            one, of = row.get(name, ""), row.get(other, "")
            if one and self._one_of.setdefault((name, one), of) != of:
                self._note(f"row {self._rows}: {name} {one} has another {other} than before")

    def _check_ratio(self, row: Mapping[str, str]) -> None:
        details = row.get("AllocatedMethodDetails", "")
        if bool(details) != bool(row.get("AllocatedMethodId")):
            self._note(f"row {self._rows}: AllocatedMethodId and AllocatedMethodDetails go together")
        if row.get("AllocatedResourceId") and not details:
            self._note(f"row {self._rows}: AllocatedResourceId without a method")
        if not details:
            return
        origin = (row["ChargePeriodStart"], row["ResourceId"])
        if origin != self._origin:
            self._end_origin(origin)
        elements = json.loads(details, parse_float=Decimal)["Elements"]
        self._ratio += sum((Decimal(element["AllocatedRatio"]) for element in elements), Decimal(0))

    def _end_origin(self, following: tuple[str, ...]) -> None:
        if self._ratio != 1:
            self._note(f"the parts of {' '.join(self._origin)} sum to {self._ratio}, not 1")
        self._origin, self._ratio = following, Decimal(0 if following else 1)


def check_file(path: Path, version: Version) -> Sequence[str]:
    """Everything that is wrong with a CSV file."""
    checker = Checker(version)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        checker.header(reader.fieldnames or ())
        for row in reader:
            checker.row(row)
    return checker.finish()


def _forms(row: Mapping[str, str]) -> Iterator[str]:
    if not _NO_NULLS.isdisjoint(row.values()):
        for name, value in row.items():
            if value in _NO_NULLS and name not in _NAMED_BY_PEOPLE:
                yield f"{name}: {value} instead of an empty field"
    for name in _DECIMALS:
        if row.get(name) and not _DECIMAL.fullmatch(row[name]):
            yield f"{name}: {row[name]} is no decimal"
    for name in _INSTANTS:
        if row.get(name) and not _INSTANT.fullmatch(row[name]):
            yield f"{name}: {row[name]} is no instant in UTC"


def _nulls(row: Mapping[str, str]) -> Iterator[str]:
    for name in _NEVER_NULL:
        if not row.get(name):
            yield f"{name} is null"
    if row.get("ChargeCategory") == "Usage" and row.get("ChargeClass") != "Correction":
        for name in _FOR_USAGE:
            if not row.get(name):
                yield f"{name} is null, on usage"


def _lists(row: Mapping[str, str]) -> Iterator[str]:
    for name, allowed in _CLOSED_LISTS.items():
        if row.get(name, "") not in allowed:
            yield f"{name}: {row[name]} is not in the list"
    for name in ("PricingUnit", "ConsumedUnit"):
        if row.get(name) and not _UNIT.fullmatch(row[name]):
            yield f"{name}: {row[name]} is no unit"
    if not _CURRENCY.fullmatch(row.get("BillingCurrency", "")):
        yield f"BillingCurrency: {row.get('BillingCurrency')!r} is no currency"


def _periods(row: Mapping[str, str]) -> Iterator[str]:
    start, end = row.get("ChargePeriodStart", ""), row.get("ChargePeriodEnd", "")
    billing_start, billing_end = row.get("BillingPeriodStart", ""), row.get("BillingPeriodEnd", "")
    if start >= end or billing_start >= billing_end:
        yield "a period does not end after it starts"
    if row.get("ChargeClass") == "Correction":
        if start >= billing_start:
            yield "a correction is not of an earlier period"
    elif not billing_start <= start < end <= billing_end:
        yield "the charge is not within its billing period"


def _products(row: Mapping[str, str]) -> Iterator[str]:
    for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
        values = [row.get(name, "") for name in (cost, price, "PricingQuantity")]
        if not all(_DECIMAL.fullmatch(value) for value in values):
            continue  # told by another rule
        total, unit, quantity = map(Decimal, values)
        if total != unit * quantity:
            yield f"{cost} is not {price} x PricingQuantity"
        if unit < 0:
            yield f"{price} is below 0"
        if total < 0 and row.get("ChargeClass") != "Correction":
            yield f"{cost} is below 0 and no correction"


def _names(row: Mapping[str, str]) -> Iterator[str]:
    if bool(row.get("ResourceId")) != bool(row.get("ResourceType")):
        yield "ResourceId and ResourceType go together"
    if row.get("ResourceName") and row["ResourceName"] == row.get("ResourceId"):
        yield "ResourceName repeats ResourceId"
    if bool(row.get("SubAccountId")) != bool(row.get("SubAccountName")):
        yield "SubAccountId and SubAccountName go together"
    zero = not Decimal(row.get("BilledCost") or 0) if _DECIMAL.fullmatch(row.get("BilledCost", "")) else True
    if row.get("ProviderName") != row.get("InvoiceIssuerName") and not zero:
        yield "BilledCost is not 0, and another than the provider issues the invoice"


def _objects(row: Mapping[str, str]) -> Iterator[str]:
    for name in ("Tags", "SkuPriceDetails", "AllocatedTags"):
        if row.get(name):
            yield from (f"{name}: {finding}" for finding in _object(name, row[name]))


@lru_cache(10_000)
def _object(name: str, text: str) -> Sequence[str]:
    """What is wrong with an object's text; the same labels come a thousand times."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return ["is no JSON object"]
    wrong = []
    if any(isinstance(value, dict | list) for value in found.values()):
        wrong.append("is not flat")
    if name == "SkuPriceDetails" and not all(_KEY.fullmatch(key) for key in found):
        wrong.append("has a key that is not in PascalCase")
    return wrong


def _fresh(rows: Rows) -> Mapping[int, Row]:
    """The first row of each shape of which no row was found right yet, by its place."""
    unknown = {shape for shape in set(rows.shapes) if shape.facts is None}
    if not unknown:
        return {}
    first = dict(zip(reversed(rows.shapes), range(len(rows.shapes) - 1, -1, -1), strict=True))
    places = sorted(first[shape] for shape in unknown)
    return dict(zip(places, rows.only(places), strict=True))


def are_right(rows: Rows, fresh: Mapping[int, Row], last_id: str) -> bool:
    """Whether there is certainly nothing wrong with rows after `last_id`, of which those that are `fresh` have a shape
    that was not looked at before. Corrections are not looked at so closely: it is never certain of them."""
    alike: dict[Facts | None, Facts | None] = {}
    for at, row in fresh.items():
        facts_of = _facts(row)
        rows.shapes[at].facts = alike.setdefault(facts_of, facts_of)
    facts = [shape.facts for shape in rows.shapes if shape.facts is not None]
    return len(facts) == len(rows.shapes) and _own_are_right(rows.own, facts, last_id)


def _facts(row: Mapping[str, str]) -> Facts | None:
    """None where something is wrong with a row, or might be with another of its shape."""
    prices = [row.get(name, "") for name in ("ListUnitPrice", "ContractedUnitPrice")]
    sure = not row.get("ChargeClass") and row.get("ProviderName") == row.get("InvoiceIssuerName")
    if not sure or any(any(rule(row)) for rule in _OF_SHAPES) or not _NINE.fullmatch(_joined(prices)):
        return None
    list_price, price = _integers(_joined(prices))
    return Facts(list_price, price, (row.get("BillingPeriodStart", ""), row.get("BillingPeriodEnd", "")))


def _own_are_right(own: Mapping[str, Sequence[str]], facts: Sequence[Facts], last_id: str) -> bool:
    plain = {
        id(own[name]): own[name] for name in ("PricingQuantity", "ConsumedQuantity", "BilledCost", "EffectiveCost")
    }
    return (
        all(_NINE.fullmatch(_joined(column)) for column in plain.values())
        and all(_NINE_OR_NONE.fullmatch(_joined(own[name])) for name in ("x_EnergyIdleKwh", "x_EnergyDynamicKwh"))
        and _are_products(own, facts)
        and _NO_NULLS.isdisjoint(own["x_Microseconds"])
        and _NO_NULLS.isdisjoint(own["x_LineId"])
        and _ascend([last_id, *own["x_LineId"]])
        and _periods_are_right(own, facts)
    )


# What is each row's own is written with so many digits, and below 0 only in corrections.
_NINE = re.compile(r"(?:\d+\.\d{9}\n)*", re.ASCII)
_NINE_OR_NONE = re.compile(r"(?:(?:\d+\.\d{9})?\n)*", re.ASCII)
_EIGHTEEN = re.compile(r"(?:\d+\.\d{18}\n)*", re.ASCII)


def _joined(column: Sequence[str]) -> str:
    return "\n".join([*column, ""])


def _integers(joined: str) -> list[int]:
    """Decimals of one number of digits, one each line, in units of the last digit."""
    return list(map(int, joined.replace(".", "").split()))


def _are_products(own: Mapping[str, Sequence[str]], facts: Sequence[Facts]) -> bool:
    """Of price and quantity, at both prices; a column that is both costs at the same prices is looked at once."""
    quantities = _integers(_joined(own["PricingQuantity"]))
    listed, prices = own["ListCost"], [of.list_price for of in facts]
    contracted, negotiated = own["ContractedCost"], [of.price for of in facts]
    same = listed is contracted and prices == negotiated
    return _is_product(listed, quantities, prices) and (same or _is_product(contracted, quantities, negotiated))


def _is_product(costs: Sequence[str], quantities: Sequence[int], prices: Sequence[int]) -> bool:
    totals = _joined(costs)
    return bool(_EIGHTEEN.fullmatch(totals)) and _integers(totals) == list(map(mul, quantities, prices))


def _ascend(column: Sequence[str]) -> bool:
    return all(map(lt, column, column[1:]))


def _periods_are_right(own: Mapping[str, Sequence[str]], facts: Sequence[Facts]) -> bool:
    """Of each hour and billing period that there is."""
    found = set(zip(own["ChargePeriodStart"], own["ChargePeriodEnd"], [of.billed for of in facts], strict=True))
    return not any(
        not _INSTANT.fullmatch(start)
        or not _INSTANT.fullmatch(end)
        or any(_periods(dict(zip(_PERIODS, (start, end, *billed), strict=True))))
        for start, end, billed in found
    )


_PERIODS = ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd")

RULES: Sequence[Rule] = (_forms, _nulls, _lists, _periods, _products, _names, _objects)
_OF_SHAPES = [rule for rule in RULES if rule not in (_periods, _products)]  # those two look at what is each row's own
