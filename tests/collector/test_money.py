"""Costs are exact until they are printed, and what is printed adds up; what has no price is in no cost."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.columns import Groups
from gputally.collector.allocation.costs import spent as spent_by
from gputally.collector.allocation.money import DIGITS, Money, column, grams, prices_of, printed, total
from gputally.collector.rates.card import Match, Quantity, Rule
from gputally.collector.rates.cost import SCALE
from gputally.collector.rates.pricing import Rate

HOUR_US = 3_600_000_000
NANO = 10**9


def rule(value: int) -> Rule:
    return Rule(Quantity.GPU_HOUR, Match(), value, 0, None, 1)


def spent(rate: Rate, *by_state_us: int, energy_mj: int | None = None) -> Money:
    times_us = [[us] for us in by_state_us]
    [money] = spent_by(Groups([()]), [prices_of(rate)], times_us, times_us, [energy_mj]).rows()
    return money


def test_an_hour_costs_its_rate() -> None:
    money = spent(Rate(gpu_hour=rule(3_600_000_000)), HOUR_US, 0, 0, 0, 0)
    assert column([money.cost]) == ["3.600000"]


def test_time_without_a_price_has_no_cost_and_is_not_free() -> None:
    money = spent(Rate(), HOUR_US, 0, 0, 0, 0)
    assert (money.cost, money.unpriced_us) == (None, HOUR_US)
    assert spent(Rate(), 0, 0, 0, 0, 0).cost == 0


def test_a_state_without_a_price_is_unknown_beside_one_that_has_a_price() -> None:
    """Used on a model with a price, idle on one without: the idle time is not free."""
    both = total([spent(Rate(gpu_hour=rule(NANO)), 7, 0, 0, 0, 0), spent(Rate(), 0, 9, 0, 0, 0)])
    assert [both.of_state(at) for at in range(5)] == [7 * NANO, None, 0, 0, 0]


def test_energy_and_overhead_stand_apart_and_are_unknown_without_a_measure_or_a_price() -> None:
    rate = Rate(kwh=rule(NANO // 2), pue=rule(NANO * 3 // 2))
    money = spent(rate, 0, 0, 0, 0, 0, energy_mj=HOUR_US)  # one kilowatt-hour
    assert column([money.energy, money.overhead]) == ["0.500000", "0.250000"]
    assert spent(rate, 0, 0, 0, 0, 0).energy is None
    assert spent(Rate(), 0, 0, 0, 0, 0, energy_mj=5).energy is None


def test_carbon_is_of_what_the_building_draws_and_energy_without_a_factor_is_in_none() -> None:
    """Unknown is not 0: without a factor, and without a measure, there is no carbon."""
    kwh = HOUR_US  # millijoules
    money = spent(Rate(carbon=rule(350 * NANO), pue=rule(NANO * 6 // 5)), 0, 0, 0, 0, 0, energy_mj=kwh)
    assert (grams([money.carbon]), money.no_factor_mj) == (["420.000000"], 0)
    without_pue = spent(Rate(carbon=rule(350 * NANO)), 0, 0, 0, 0, 0, energy_mj=kwh)
    assert grams([without_pue.carbon]) == ["350.000000"]
    no_factor = spent(Rate(), 0, 0, 0, 0, 0, energy_mj=kwh)
    assert (no_factor.carbon, no_factor.no_factor_mj) == (None, kwh)
    unmeasured = spent(Rate(carbon=rule(350 * NANO)), 0, 0, 0, 0, 0)
    assert (unmeasured.carbon, unmeasured.no_factor_mj) == (None, 0)
    all_of_it = total([money, no_factor, unmeasured])
    assert (grams([all_of_it.carbon]), all_of_it.no_factor_mj) == (["420.000000"], kwh)


def test_printed_carbon_adds_up() -> None:
    third = spent(Rate(carbon=rule(NANO)), 0, 0, 0, 0, 0, energy_mj=HOUR_US // 3).carbon
    assert grams([third, third, third]) == ["0.333334", "0.333333", "0.333333"]


def test_the_total_is_the_sum_of_its_rows() -> None:
    priced = spent(Rate(gpu_hour=rule(NANO)), 1, 2, 3, 4, 5)
    unpriced = spent(Rate(), 9, 0, 0, 0, 0)
    both = total([priced, unpriced])
    assert (both.cost, both.priced_us, both.unpriced_us) == (15 * NANO, 15, 9)


def test_what_is_unknown_is_printed_as_unknown() -> None:
    assert column([None, 0, None]) == [None, "0.000000", None]
    assert printed(-1) == "-0.000001"


@given(st.lists(st.one_of(st.none(), st.integers(-(10**24), 10**24)), max_size=8))
def test_a_printed_column_adds_up_to_its_sum_rounded_once(costs: list[int | None]) -> None:
    known = [cost for cost in costs if cost is not None]
    units = [int(text.replace(".", "")) for text in column(costs) if text is not None]
    assert abs(sum(units) * SCALE - sum(known) * 10**DIGITS) * 2 <= SCALE
    assert column([sum(known)]) == [printed(sum(units))]
