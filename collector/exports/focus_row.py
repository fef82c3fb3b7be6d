"""A charge as a row of FOCUS: names, identifiers, quantities and costs as the specification wants them."""

import json
from dataclasses import dataclass
from functools import lru_cache

from gputally.accounting.keys import is_user
from gputally.accounting.ledger_hour import hour_end
from gputally.accounting.states import OwnerKind, State
from gputally.collector.exports.focus_charge import Charge, Printed
from gputally.collector.exports.record import instant_text
from gputally.collector.rates.card import exact, model_key
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.item import Meter
from gputally.collector.statement.line import Line, payer
from gputally.collector.statement.rounding import DIGITS, fixed

METHOD = "gpu-claim-v1"  # how a device's hour is split: by who held it (accounting, settlement)

Row = dict[str, str]

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
        self._currency = ground.statement.currency
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

    def row(self, charge: Charge, printed: Printed, ratio: str | None) -> Row:
        """The row of a charge; `ratio` is its part of the device's hour, None where it is no part of one."""
        self._number += 1
        line = charge.line
        corrects = line.hour_us < self._month.start_us
        return {
            **self._constant,
            **self._account(line, charge),
            **_costs(charge, printed),
            **_resource(line),
            **_sku(line, charge),
            **_own(line, charge, printed),
            **({} if ratio is None else _allocation(line, charge, printed, ratio)),
            "ChargeClass": "Correction" if corrects else "",
            "ChargePeriodStart": instant_text(line.hour_us),
            "ChargePeriodEnd": self._end_text(line.hour_us),
            "ChargeDescription": _description(line, charge, corrects=corrects),
            "x_LineId": f"{self._month.name}-{self._number:09d}",
        }

    def _end_text(self, hour_us: int) -> str:
        if hour_us not in self._ends:
            self._ends[hour_us] = instant_text(hour_end(hour_us, self._zone))
        return self._ends[hour_us]

    def _account(self, line: Line, charge: Charge) -> Row:
        of = line.holding
        found = {
            "BillingAccountId": of.cluster,
            "BillingAccountName": of.cluster,
            "InvoiceId": f"cb-{self._month.name}-{of.cluster}",
            "Tags": line.terms.tags,
        }
        if _who(line, charge) is OwnerKind.POD:
            found["SubAccountId"] = f"{of.cluster}/{line.terms.namespace_uid or of.namespace}"
            found["SubAccountName"] = of.namespace
            found["SubAccountType"] = "User" if is_user(of.namespace) else "Kubernetes Namespace"
        return found


def _who(line: Line, charge: Charge) -> OwnerKind:
    return payer(line.holding.kind, State(charge.state)) if charge.state else OwnerKind(line.holding.kind)


def _costs(charge: Charge, printed: Printed) -> Row:
    """List and contracted cost are the exact products of what is printed; the billed cost adds up to the ledger."""
    quantity, billed = fixed(printed.quantity, DIGITS), fixed(printed.cost, DIGITS)
    unit = _SERVICES[charge.meter][2]
    return {
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "ListUnitPrice": fixed(charge.list_price, DIGITS),
        "ContractedUnitPrice": fixed(charge.price, DIGITS),
        "ListCost": fixed(printed.quantity * charge.list_price, 2 * DIGITS),
        "ContractedCost": fixed(printed.quantity * charge.price, 2 * DIGITS),
        "BilledCost": billed,
        "EffectiveCost": billed,
    }


def _resource(line: Line) -> Row:
    of = line.holding
    kind = {"gpu": "GPU", "replica": "GPU Replica"}.get(of.partition, "MIG Instance")
    uuid = of.partition if kind == "MIG Instance" else of.uuid
    return {"ResourceId": f"{of.cluster}/{of.node}/{uuid}", "ResourceType": kind}


def _sku(line: Line, charge: Charge) -> Row:
    """Stable over time: neither amounts nor versions of the rate card are in it."""
    service, meter, _ = _SERVICES[charge.meter]
    sku = _gpu_sku(line.holding.model, line.holding.profile) if charge.meter is Meter.GPU else f"gpu-{charge.meter}"
    found = {"ServiceName": service, "SkuMeter": meter, "SkuId": sku, "SkuPriceId": f"{sku}:standard"}
    if charge.meter is Meter.GPU:
        found["SkuPriceDetails"] = _details(line.holding.model, line.holding.profile)
    return found


@lru_cache(1000)
def _gpu_sku(model: str, profile: str) -> str:
    return f"gpu-{model_key(model)}" + (f"-mig-{profile}" if profile else "")


@lru_cache(1000)
def _details(model: str, profile: str) -> str:
    return json.dumps({"GpuCount": 1, "x_GpuModel": model, **({"x_MigProfile": profile} if profile else {})})


def _own(line: Line, charge: Charge, printed: Printed) -> Row:
    of, terms = line.holding, line.terms
    return {
        "x_UsageState": charge.state,
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
        "x_Microseconds": str(charge.quantity) if charge.meter is Meter.GPU else "",
        "x_EnergyIdleKwh": "" if printed.energy_idle is None else fixed(printed.energy_idle, DIGITS),
        "x_EnergyDynamicKwh": "" if printed.energy_dynamic is None else fixed(printed.energy_dynamic, DIGITS),
    }


def _allocation(line: Line, charge: Charge, printed: Printed, ratio: str) -> Row:
    """The columns of 1.3: which part of the device's hour this is, and whose. Nobody's has a method and no resource."""
    of = line.holding
    quantity = fixed(printed.quantity, DIGITS)
    element = f'{{"AllocatedRatio":{ratio},"UsageUnit":"GPU-Hours","UsageQuantity":{quantity}}}'
    found = {
        "ResourceId": f"{of.cluster}/{of.node}/{of.uuid}",
        "ResourceType": "GPU",
        "AllocatedMethodId": METHOD,
        "AllocatedMethodDetails": f'{{"Elements":[{element}]}}',
    }
    if _who(line, charge) is OwnerKind.POD:
        found["AllocatedResourceId"] = f"{of.cluster}/{of.namespace}/{of.pod_uid or of.pod}"
        found["AllocatedResourceName"] = of.pod
        found["AllocatedTags"] = line.terms.tags
    return found


def _description(line: Line, charge: Charge, *, corrects: bool) -> str:
    of = line.holding
    what = {Meter.GPU: charge.state, Meter.ENERGY: "energy", Meter.OVERHEAD: "energy overhead"}[charge.meter]
    where = f"{of.model} {of.profile}".rstrip()
    whose = f"namespace {of.namespace}, pod {of.pod}" if of.kind == OwnerKind.POD else of.kind
    rate = f", rate {exact(charge.price)}, card version {line.terms.rate_version}"
    return f"{'correction: ' if corrects else ''}{what} {where} for {whose}{rate}"
