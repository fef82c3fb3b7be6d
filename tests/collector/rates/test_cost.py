"""Money is exact until it is printed, and what is printed adds up."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.rates.card import NANO
from gputally.collector.rates.cost import (
    SCALE,
    Charged,
    carbon_g,
    charged,
    energy_cost,
    in_currency,
    overhead_price,
    rounded,
    time_cost,
)

_COSTS = st.lists(st.integers(-(10**24), 10**24), max_size=12)


def test_an_hour_at_a_price_costs_the_price() -> None:
    assert in_currency(time_cost(HOUR_US, 2_500_000_000) or 0) == Fraction("2.5")


def test_a_kilowatt_hour_at_a_price_costs_the_price() -> None:
    assert in_currency(energy_cost(3_600_000_000, 300_000_000) or 0) == Fraction("0.3")


def test_the_building_draws_its_part_on_a_line_of_its_own() -> None:
    assert overhead_price(300_000_000, 1_250_000_000) == 75_000_000


def test_carbon_is_of_what_the_building_draws() -> None:
    assert carbon_g(3_600_000_000, 350 * NANO, 1_200_000_000) == 420


def test_what_is_unknown_costs_nothing_known() -> None:
    """None, not 0."""
    assert time_cost(HOUR_US, None) is None
    assert energy_cost(None, 1) is None
    assert energy_cost(1, None) is None
    assert overhead_price(1, None) is None
    assert carbon_g(None, 1) is None
    assert time_cost(HOUR_US, 0) == 0


@pytest.mark.parametrize(
    ("kind", "paid"),
    [
        (OwnerKind.POD, Charged(1 + 2 + 16, 4 + 8)),
        (OwnerKind.HOST, Charged(1 + 2 + 16, 4 + 8)),
        (OwnerKind.PLATFORM, Charged(0, 31)),
    ],
)
def test_an_owner_pays_what_it_held_and_the_platform_the_rest(kind: OwnerKind, paid: Charged) -> None:
    """The last three: unallocated, unavailable, unobserved."""
    assert charged(kind, 1, 2, 4, 8, 16) == paid


@given(costs=_COSTS, digits=st.integers(0, 6))
def test_printed_lines_add_up_to_the_exact_sum_rounded_once(costs: list[int], digits: int) -> None:
    unit = Fraction(1, 10**digits)
    lines = rounded(costs, digits)
    exact = Fraction(sum(costs), SCALE)
    assert abs(sum(lines) * unit - exact) <= unit / 2
    assert all(abs(line * unit - in_currency(cost)) < unit for line, cost in zip(lines, costs, strict=True))


@given(costs=_COSTS)
def test_what_needs_no_rounding_stays(costs: list[int]) -> None:
    whole = [cost // 10**6 * SCALE for cost in costs]
    assert rounded(whole, 0) == [cost // SCALE for cost in whole]


@given(us=st.lists(st.integers(0, 10**15), max_size=8), price=st.integers(0, 10**13))
def test_a_stretch_costs_what_its_parts_cost(us: list[int], price: int) -> None:
    """I5 and I6 hold for money because nothing is divided before the end."""
    assert time_cost(sum(us), price) == sum(time_cost(part, price) or 0 for part in us)
