"""Money from time, exactly: who pays which state, products without a division, and the one rounding at the end.

A cost is an integer: microseconds times a price of 10⁻⁹ currency per GPU-hour. `SCALE` of them are one unit of the
currency. Energy comes out in the same measure, because a kilowatt-hour has as many millijoules as an hour has
microseconds. A fleet's month does not fit 64 bits: multiply in Python, not in SQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.rates.card import NANO

SCALE = HOUR_US * NANO
_ALL = slice(None)
CARBON_SCALE = SCALE * NANO  # of these are one gram of CO₂e


@dataclass(frozen=True, slots=True)
class Charged:
    """Microseconds by who pays for them."""

    owner_us: int
    platform_us: int


def charged(
    kind: OwnerKind, used_us: int, idle_us: int, unallocated_us: int, unavailable_us: int, unobserved_us: int
) -> Charged:
    """Who pays for a posting: its owner what it used, held idle or held unobserved, the platform all else."""
    of_owner = 0 if kind is OwnerKind.PLATFORM else used_us + idle_us + unobserved_us
    everything = used_us + idle_us + unallocated_us + unavailable_us + unobserved_us
    return Charged(of_owner, everything - of_owner)


def time_cost(us: int, price: int | None) -> int | None:
    """What time costs at a price per GPU-hour (10⁻⁹); None where there is no price."""
    return None if price is None else us * price


def energy_cost(mj: int | None, price: int | None) -> int | None:
    """What energy costs at a price per kilowatt-hour (10⁻⁹); None where either is unknown."""
    return None if mj is None or price is None else mj * price


def overhead_price(price: int | None, pue: int | None) -> int | None:
    """The price of what the building draws besides, per kilowatt-hour of the devices; exact by the card's digits."""
    return None if price is None or pue is None else price * (pue - NANO) // NANO


def carbon(mj: int | None, factor: int | None, pue: int | None = None) -> int | None:
    """CO₂e of energy at a factor of grams per kilowatt-hour (10⁻⁹), with a PUE where one is given; None: unknown."""
    return None if mj is None or factor is None else mj * factor * (NANO if pue is None else pue)


def carbon_g(mj: int | None, factor: int | None, pue: int | None = None) -> Fraction | None:
    """The same in grams, exactly."""
    found = carbon(mj, factor, pue)
    return None if found is None else Fraction(found, CARBON_SCALE)


def in_currency(cost: int) -> Fraction:
    """The exact amount in units of the currency."""
    return Fraction(cost, SCALE)


def rounded(costs: Sequence[int], digits: int = 2, scale: int = SCALE, shown: slice = _ALL) -> list[int]:
    """Costs in units of 10⁻ᵈⁱᵍⁱᵗˢ whose sum is the exact sum rounded once, halves up; `scale` of them are one.

    By largest remainder, equal ones to the earlier; negative costs (corrections) are rounded down and take part alike.
    All costs decide, and those `shown` are told.
    """
    unit = scale // 10**digits
    rests = [cost % unit for cost in costs]
    whole = sum(costs)
    missing = (2 * whole + unit) // (2 * unit) - (whole - sum(rests)) // unit
    least = sorted(rests, reverse=True)[missing - 1] if missing else unit  # that is rounded up
    equal = missing - sum(rest > least for rest in rests)  # of those as large as that, the first ones
    first = shown.indices(len(costs))[0]
    equal -= rests[:first].count(least)
    found = []
    for cost, rest in zip(costs[shown], rests[shown], strict=True):
        up = rest > least or (rest == least and equal > 0)
        equal -= rest == least
        found.append(cost // unit + up)
    return found
