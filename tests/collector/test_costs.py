"""Costs that are kept by columns are those of the rows, one by one and together."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.allocation.columns import Groups
from gputally.collector.allocation.costs import costs_of, spent
from gputally.collector.allocation.money import Money, Prices, total

_US = st.integers(0, 10**18) | st.just(0)
_TIMES = st.tuples(_US, _US, _US, _US, _US)
_PRICE = st.none() | st.integers(0, 10**12)
_PRICES = st.builds(Prices, _PRICE, _PRICE, _PRICE, _PRICE) | st.just(Prices(3, 5, None, 7))
_SUMS = st.lists(st.tuples(st.sampled_from("ab"), _PRICES, _TIMES, st.none() | _US), max_size=6)
_MONEYS = st.lists(
    st.builds(Money, _TIMES, _TIMES, _TIMES | st.just((0,) * 5), _PRICE, _PRICE, st.integers(-9, 9), _PRICE, _US)
)


def one(prices: Prices, by_state_us: tuple[int, ...], energy_mj: int | None) -> Money:
    """What a single sum costs, in the plainest way."""
    price, nothing = prices.gpu_hour, (0,) * 5
    energies = (None if energy_mj is None or of is None else energy_mj * of for of in prices[1:])
    energy, overhead, carbon = energies
    return Money(
        nothing if price is None else tuple(us * price for us in by_state_us),
        nothing if price is None else by_state_us,
        by_state_us if price is None else nothing,
        energy,
        overhead,
        0,
        carbon,
        (energy_mj or 0) if prices.carbon is None else 0,
    )


@given(_SUMS)
def test_a_group_costs_what_its_sums_cost(sums: list[tuple[str, Prices, tuple[int, ...], int | None]]) -> None:
    groups = Groups(key for key, *_ in sums)
    columns = [[times[at] for _, _, times, _ in sums] for at in range(5)]
    times_us = [groups.sums(column) for column in columns]
    found = spent(groups, [prices for _, prices, _, _ in sums], columns, times_us, [mj for *_, mj in sums])
    apart = {group: [one(*of) for key, *of in sums if key == group] for group in groups.keys}
    assert found.rows() == [total(of_group) for of_group in apart.values()]


@given(_MONEYS)
def test_columns_say_what_rows_say(rows: list[Money]) -> None:
    costs = costs_of(rows)
    assert costs.rows() == rows
    assert costs.total() == total(rows)
    assert costs.cost == [row.cost for row in rows]
    assert costs.unpriced_us == [row.unpriced_us for row in rows]
    for at in range(5):
        known = [None if row.cost is None else row.of_state(at) for row in rows]
        assert list(costs.of_state(at)) == [row.by_state[at] or each for row, each in zip(rows, known, strict=True)]


@given(_MONEYS, st.data())
def test_some_rows_can_be_picked(rows: list[Money], data: st.DataObject) -> None:
    at = data.draw(st.lists(st.sampled_from(range(len(rows))))) if rows else []
    assert costs_of(rows).picked(at).rows() == [rows[each] for each in at]
