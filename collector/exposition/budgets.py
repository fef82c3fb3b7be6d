"""Budgets as Prometheus reads them: ratios, so that one rule fits budgets of GPU-hours and of money."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from gputally.collector.burn import Burn

_LABELS = ("scope", "name", "cluster", "unit")


def burn_metrics(burns: Iterable[Burn]) -> Iterator[Metric]:
    """The families of the current month's budgets; what is not known is absent."""
    spent = GaugeMetricFamily(
        "gputally_budget_spent_ratio", "The part of this month's budget that is spent.", labels=_LABELS
    )
    expected = GaugeMetricFamily(
        "gputally_budget_forecast_ratio",
        "What this month will come to as a part of its budget: expected, and with its least and dearest days.",
        labels=(*_LABELS, "bound"),
    )
    for burn in burns:
        budget = burn.budget
        labels = (budget.scope.value, budget.name, budget.cluster or "", budget.unit.value)
        ratio = burn.ratio(burn.spent)
        if ratio is None:
            continue
        spent.add_metric(labels, ratio)
        if burn.forecast:
            for bound in ("expected", "low", "high"):
                expected.add_metric((*labels, bound), burn.ratio(getattr(burn.forecast, bound)) or 0)
    yield spent
    yield expected
