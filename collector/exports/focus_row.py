"""A charge as a row of FOCUS: names, identifiers, quantities and costs as the specification wants them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter, mul

from gputally.accounting.keys import is_user
from gputally.accounting.ledger_hour import hour_end
from gputally.accounting.states import OwnerKind, State
from gputally.collector.exports.focus_charge import METERS, Charges, Printed, Sort
from gputally.collector.exports.record import instant_text
from gputally.collector.rates.card import exact, model_key
from gputally.collector.statement.block import Account
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.item import Meter
from gputally.collector.statement.line import payer
from gputally.collector.statement.rounding import DIGITS, fixed, fixed_column

METHOD = "gpu-claim-v1"  # how a device's hour is split: by who held it (accounting, settlement)

Row = dict[str, str]

_PRICE, _LIST_PRICE = attrgetter("price"), attrgetter("list_price")

_SERVICES = {
    Meter.GPU: ("Kubernetes GPU", "GPU Reservation", "GPU-Hours"),
    Meter.ENERGY: ("Kubernetes GPU Energy", "GPU Energy", "Kilowatt-Hours"),
    Meter.OVERHEAD: ("Kubernetes GPU Energy", "GPU Energy Overhead", "Kilowatt-Hours"),
}


@dataclass(frozen=True, slots=True)
class Biller:
    """Who bills: provider, publisher and issuer of the invoice are one, as for any platform inside an organisation."""

    name: str = "GPU Tally"


class RowMaker:
    """Makes the rows of a month."""

    def __init__(self, ground: Ground, biller: Biller) -> None:
        self._month = ground.month
        self._zone = ground.zone
        self._currency = ground.currency
        self._number = 0
        self._ends: dict[int, str] = {}
        self._constant: Row = {
            "BillingCurrency": self._currency,
            "BillingPeriodStart": instant_text(ground.month.start_us),
            "BillingPeriodEnd": instant_text(ground.month.end_us),
            "BillingAccountType": "Kubernetes Cluster",
            "ChargeCategory": "Usage",
            "ChargeFrequency": "Usage-Based",
            "PricingCategory": "Standard",
            "ServiceCategory": "Compute",
            "ServiceSubcategory": "Containers",
            **dict.fromkeys(
                ("InvoiceIssuerName", "ProviderName", "PublisherName", "HostProviderName", "ServiceProviderName"),
                biller.name,
            ),
        }

    def constants(self, sort: Sort, *, allocates: bool) -> Row:
        """What rows of a sort share; `allocates`: they are parts of devices' hours."""
        of = sort.account
        return {
            **self._constant,
            **self._account(of, sort),
            **_prices(sort),
            **_resource(of),
            **_sku(of, sort),
            **_own(of, sort),
            **(_allocation(of, sort) if allocates else {}),
            "ChargeClass": "Correction" if sort.corrects else "",
            "ChargeDescription": _description(of, sort),
        }

    def figures(self, some: Charges, printed: Printed, ratios: Sequence[str | None]) -> Mapping[str, Sequence[str]]:
        """What is each row's own, by column. List and contracted cost are the exact products of what is printed; the
        billed cost adds up to the ledger. Columns that are alike are one object."""
        quantities, billed = _texts(printed.quantity), _texts(printed.cost)
        listed, contracted = _costs(some.sorts, printed.quantity)
        first, self._number = self._number + 1, self._number + len(some.hours)
        starts = {hour_us: instant_text(hour_us) for hour_us in set(some.hours)}
        ends = {hour_us: self._end_text(hour_us) for hour_us in starts}
        gpu = METERS.index(Meter.GPU)
        return {
            "PricingQuantity": quantities,
            "ConsumedQuantity": quantities,
            "ListCost": listed,
            "ContractedCost": contracted,
            "BilledCost": billed,
            "EffectiveCost": billed,
            "ChargePeriodStart": list(map(starts.__getitem__, some.hours)),
            "ChargePeriodEnd": list(map(ends.__getitem__, some.hours)),
            "AllocatedMethodDetails": list(map(_details_of, ratios, quantities)),
            "x_LineId": list(map(f"{self._month.name}-%09d".__mod__, range(first, self._number + 1))),
            "x_Microseconds": [
                str(us) if sort.meter == gpu else "" for sort, us in zip(some.sorts, some.quantities, strict=True)
            ],
            "x_EnergyIdleKwh": _texts(printed.energy_idle),
            "x_EnergyDynamicKwh": _texts(printed.energy_dynamic),
        }

    def _end_text(self, hour_us: int) -> str:
        if hour_us not in self._ends:
            self._ends[hour_us] = instant_text(hour_end(hour_us, self._zone))
        return self._ends[hour_us]

    def _account(self, line: Account, sort: Sort) -> Row:
        of = line.holding
        found = {
            "BillingAccountId": of.cluster,
            "BillingAccountName": of.cluster,
            "InvoiceId": f"cb-{self._month.name}-{of.cluster}",
            "Tags": line.terms.tags,
        }
        if _who(line, sort) is OwnerKind.POD:
            found["SubAccountId"] = f"{of.cluster}/{line.terms.namespace_uid or of.namespace}"
            found["SubAccountName"] = of.namespace
            found["SubAccountType"] = "User" if is_user(of.namespace) else "Kubernetes Namespace"
        return found


def _who(line: Account, sort: Sort) -> OwnerKind:
    return payer(line.holding.kind, State(sort.state)) if sort.state else OwnerKind(line.holding.kind)


def _prices(sort: Sort) -> Row:
    unit = _SERVICES[METERS[sort.meter]][2]
    return {
        "PricingUnit": unit,
        "ConsumedUnit": unit,
        "ListUnitPrice": fixed(sort.list_price, DIGITS),
        "ContractedUnitPrice": fixed(sort.price, DIGITS),
    }


def _costs(sorts: Sequence[Sort], quantities: Sequence[int]) -> tuple[list[str], list[str]]:
    """At list prices, and at those that were negotiated."""
    prices, negotiated = list(map(_LIST_PRICE, sorts)), list(map(_PRICE, sorts))
    listed = _texts(map(mul, quantities, prices), 2 * DIGITS)
    return listed, listed if prices == negotiated else _texts(map(mul, quantities, negotiated), 2 * DIGITS)


def _texts(units: Iterable[int | None], digits: int = DIGITS) -> list[str]:
    """Decimals, with nothing where a value is unknown."""
    return [text or "" for text in fixed_column(units, digits)]


def _resource(line: Account) -> Row:
    of = line.holding
    kind = {"gpu": "GPU", "replica": "GPU Replica"}.get(of.partition, "MIG Instance")
    uuid = of.partition if kind == "MIG Instance" else of.uuid
    return {"ResourceId": f"{of.cluster}/{of.node}/{uuid}", "ResourceType": kind}


def _sku(line: Account, sort: Sort) -> Row:
    """Stable over time: neither amounts nor versions of the rate card are in it."""
    service, meter, _ = _SERVICES[METERS[sort.meter]]
    sku = (
        _gpu_sku(line.holding.model, line.holding.profile)
        if METERS[sort.meter] is Meter.GPU
        else f"gpu-{METERS[sort.meter]}"
    )
    found = {"ServiceName": service, "SkuMeter": meter, "SkuId": sku, "SkuPriceId": f"{sku}:standard"}
    if METERS[sort.meter] is Meter.GPU:
        found["SkuPriceDetails"] = _details(line.holding.model, line.holding.profile)
    return found


@lru_cache(1000)
def _gpu_sku(model: str, profile: str) -> str:
    return f"gpu-{model_key(model)}" + (f"-mig-{profile}" if profile else "")


@lru_cache(1000)
def _details(model: str, profile: str) -> str:
    return json.dumps({"GpuCount": 1, "x_GpuModel": model, **({"x_MigProfile": profile} if profile else {})})


def _own(line: Account, sort: Sort) -> Row:
    of, terms = line.holding, line.terms
    return {
        "x_UsageState": sort.state,
        "x_StateReason": of.reason,
        "x_Basis": of.basis,
        "x_Owner": of.kind if of.kind != OwnerKind.HOST else f"host {of.user} {of.unit}".rstrip(),
        "x_Team": terms.team or "",
        "x_CostCenter": terms.cost_center or "",
        "x_Namespace": of.namespace,
        "x_Pod": of.pod,
        "x_Container": of.container,
        "x_PodUid": of.pod_uid,
        "x_Node": of.node,
        "x_Partition": of.partition,
        "x_RateVersion": "" if terms.rate_version is None else str(terms.rate_version),
    }


def _allocation(line: Account, sort: Sort) -> Row:
    """The columns of 1.3: which part of the device's hour this is, and whose. Nobody's has a method and no resource."""
    of = line.holding
    found = {
        "ResourceId": f"{of.cluster}/{of.node}/{of.uuid}",
        "ResourceType": "GPU",
        "AllocatedMethodId": METHOD,
    }
    if _who(line, sort) is OwnerKind.POD:
        found["AllocatedResourceId"] = f"{of.cluster}/{of.namespace}/{of.pod_uid or of.pod}"
        found["AllocatedResourceName"] = of.pod
        found["AllocatedTags"] = line.terms.tags
    return found


def _details_of(ratio: str | None, quantity: str) -> str:
    if ratio is None:
        return ""
    element = f'{{"AllocatedRatio":{ratio},"UsageUnit":"GPU-Hours","UsageQuantity":{quantity}}}'
    return f'{{"Elements":[{element}]}}'


def _description(line: Account, sort: Sort) -> str:
    of = line.holding
    what = {Meter.GPU: sort.state, Meter.ENERGY: "energy", Meter.OVERHEAD: "energy overhead"}[METERS[sort.meter]]
    where = f"{of.model} {of.profile}".rstrip()
    whose = f"namespace {of.namespace}, pod {of.pod}" if of.kind == OwnerKind.POD else of.kind
    rate = f", rate {exact(sort.price)}, card version {line.terms.rate_version}"
    return f"{'correction: ' if sort.corrects else ''}{what} {where} for {whose}{rate}"
