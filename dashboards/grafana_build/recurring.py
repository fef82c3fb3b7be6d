"""Panels that stand on several dashboards, so that they say the same in the same words."""

from grafana_foundation_sdk.builders import stat

from grafana_build import style
from grafana_build.panel import number
from grafana_build.source import CLUSTER, delta, down, once, series


def used_and_idle(expr: str) -> list[stat.Panel]:
    """Two numbers of GPUs from a query with STATE in it, which is the mean of 15 minutes."""
    means = {
        "used": "a kernel of the owner was executing.",
        "idle": "held, measured, and no kernel of the owner was executing.",
    }
    return [
        number(
            state.capitalize(),
            f"GPUs in state {state}, the mean of 15 minutes: {meaning}",
            expr.replace("STATE", state),
            style.GPUS,
            decimals=1,
            state=state,
        )
        for state, meaning in means.items()
    ]


def money(title: str, description: str, expr: str) -> stat.Panel:
    """An amount for each currency: no sum goes over currencies."""
    by_currency = f"sum by (currency) ({expr})"
    return number(
        title, description, by_currency, style.MONEY, unknown=style.UNPRICED, legend="{{currency}}", decimals=2
    )


def cost_of_month(title: str, description: str, selected: str) -> stat.Panel:
    """What the month has come to so far."""
    return money(title, description, once(selected))


def cost_of_idle_hour(selected: str) -> stat.Panel:
    """What idle GPUs cost in the last hour."""
    return money(
        "Idle cost, last hour",
        "What idle GPUs cost in the last hour, by the ledger and the rate card. Not known in a month's first hour; a "
        "new price or a late window moves it once.",
        delta(selected),
    )


def coverage_of_month() -> stat.Panel:
    """How much of the month anybody saw."""
    return number(
        "Coverage, this month",
        "1 - unobserved / capacity of this month, gaps included: how much of it anybody saw. The lowest "
        "cluster, rounded down.",
        down(f"min({series('gputally_month_coverage_ratio', CLUSTER)})"),
        style.RATIO,
        decimals=1,
        thresholds=style.attention(below=0.95),
    )
