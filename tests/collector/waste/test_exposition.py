"""The kinds of today's idle time as Prometheus reads them: bounded, and absent where there is no price."""

from gputally.collector.allocation.period import Period
from gputally.collector.exposition.fleet import MOST
from gputally.collector.exposition.waste import waste_metrics
from gputally.collector.rates.cost import SCALE
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import Wasted, WasteRow


def row(namespace: str, us: int, cost: int | None = 0) -> WasteRow:
    kinds = {**dict.fromkeys(Kind, Wasted()), Kind.FORGOTTEN: Wasted(us, 0, cost, us if cost is None else 0)}
    return WasteRow(Period(0, 1), ("east", namespace), kinds)


def test_each_kind_is_a_series_and_a_cost_only_where_there_is_one() -> None:
    time, cost = waste_metrics([row("search", 7_000_000, 3 * SCALE), row("vision", 1, None)], "EUR")
    seconds = {(one.labels["namespace"], one.labels["kind"]): one.value for one in time.samples}
    assert len(seconds) == 2 * len(Kind)
    assert (seconds["search", "forgotten"], seconds["search", "between-kernels"]) == (7, 0)
    costs = {(one.labels["namespace"], one.labels["kind"]): one.value for one in cost.samples}
    assert (costs["search", "forgotten"], ("vision", "forgotten") in costs) == (3, False)
    assert not list(waste_metrics([row("search", 7)], ""))[1].samples


def test_the_largest_are_shown() -> None:
    """Whoever makes namespaces must not make series without a bound."""
    time, _ = waste_metrics([row(f"n-{at}", at) for at in range(MOST + 3)], "")
    assert len(time.samples) == MOST * len(Kind)
    assert "n-0" not in {one.labels["namespace"] for one in time.samples}
