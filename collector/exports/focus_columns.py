"""The columns of a FOCUS file, by version of the specification: FOCUS's own by name, then ours, which begin with x_."""

from collections.abc import Sequence
from enum import StrEnum


class Version(StrEnum):
    """The versions of FOCUS that can be written; 1.0 is what the oldest validators read."""

    V1_0 = "1.0"
    V1_2 = "1.2"
    V1_3 = "1.3"


def words(text: str) -> tuple[str, ...]:
    """Names as a text lists them."""
    return tuple(text.split())


_SHARED = words("""
    BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory
    ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountStatus
    ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost InvoiceIssuerName ListCost
    ListUnitPrice PricingCategory PricingQuantity PricingUnit ProviderName PublisherName ResourceId ResourceName
    ResourceType ServiceCategory ServiceName SkuId SkuPriceId SubAccountId SubAccountName Tags
""")
_ONLY_1_0 = words("""
    CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountType RegionId RegionName
""")
_SINCE_1_2 = words("BillingAccountType InvoiceId ServiceSubcategory SkuMeter SkuPriceDetails SubAccountType")
_SINCE_1_3 = words("""
    AllocatedMethodDetails AllocatedMethodId AllocatedResourceId AllocatedResourceName AllocatedTags HostProviderName
    ServiceProviderName
""")
_OURS = words("""
    x_LineId x_UsageState x_StateReason x_Basis x_Owner x_Team x_CostCenter x_Namespace x_Pod x_Container x_PodUid
    x_Node x_Partition x_RateVersion x_Microseconds x_EnergyIdleKwh x_EnergyDynamicKwh
""")
_DECIMALS = frozenset(
    words("""
    BilledCost ConsumedQuantity ContractedCost ContractedUnitPrice EffectiveCost ListCost ListUnitPrice PricingQuantity
    x_EnergyIdleKwh x_EnergyDynamicKwh
    """)
)
_INSTANTS = frozenset(words("BillingPeriodEnd BillingPeriodStart ChargePeriodEnd ChargePeriodStart"))
_JSON = frozenset(words("Tags SkuPriceDetails AllocatedTags AllocatedMethodDetails"))
_OF_VERSION = {
    Version.V1_0: [*_SHARED, *_ONLY_1_0],
    Version.V1_2: [*_SHARED, *_SINCE_1_2],
    Version.V1_3: [*_SHARED, *_SINCE_1_2, *_SINCE_1_3],
}


def columns(version: Version) -> Sequence[str]:
    """The names of a file's columns, in order."""
    return (*sorted(_OF_VERSION[version]), *_OURS)


def data_type(name: str) -> str:
    """What a column holds, as FOCUS's metadata calls it."""
    if name in _DECIMALS:
        return "DECIMAL"
    if name in _INSTANTS:
        return "DATETIME"
    return "JSON" if name in _JSON else "INTEGER" if name in ("x_Microseconds", "x_RateVersion") else "STRING"
