"""Where numbers come from: the two data sources, and queries to them."""

from typing import Any

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# Types of plugins, names of variables, and the uids that dashboards/provisioning gives them.
PROMETHEUS, POSTGRESQL = "prometheus", "grafana-postgresql-datasource"
PROMETHEUS_UID, POSTGRESQL_UID = "gputally-prometheus", "gputally-postgresql"
METRICS = model.DataSourceRef(type_val=PROMETHEUS, uid="${prometheus}")
LEDGER = model.DataSourceRef(type_val=POSTGRESQL, uid="${postgresql}")


CLUSTER = 'cluster=~"$cluster"'
CLUSTER_IF_KNOWN = 'cluster=~"$cluster|"'  # the agent's series have a cluster only where Prometheus sets one


def series(metric: str, *matchers: str, **labels: str) -> str:
    """A metric's series that match."""
    found = [*matchers, *(f'{name}="{value}"' for name, value in labels.items())]
    return f"{metric}{{{', '.join(found)}}}"


def delta(selected: str) -> str:
    """What a figure of the month grew by in an hour; nothing before the month is an hour old: it begins anew then."""
    month_is_an_hour_old = "and on () (time() - max(gputally_month_start_timestamp_seconds) > 3600)"
    return f"({once(f'delta({selected}[1h])')} {month_is_an_hour_old})"


def rate(selected: str, over: str = "$__rate_interval") -> str:
    """Per second; of seconds of GPU time: how many GPUs."""
    return f"rate({selected}[{over}])"


def of_agents(by: str, rates: str) -> str:
    """Rates of agents' counters by labels, each agent once. One that was replaced had another part of the time, so the
    two are added; what is scraped twice has two jobs and is the same time.
    """
    return f"sum by ({by}) (max by ({by}, instance) ({rates}))"


def once(expr: str) -> str:
    """What every replica of the collector shows alike, counted once (`pod` is what Prometheus' operator adds)."""
    return f"max without (instance, pod) ({expr})"


def down(ratio: str, steps: int = 1000) -> str:
    """Rounded down to a tenth of a percent, or one in so many: what prints 100 % lacks nothing.

    Grafana rounds to the nearest, which hides what is missing. The last digits of a product are not the ratio's.
    """
    return f"floor({steps} * ({ratio}) + 1e-9) / {steps}"


def up(ratio: str) -> str:
    """Rounded up to a tenth of a percent: what prints 0 % is nothing."""
    return f"ceil(1000 * ({ratio}) - 1e-9) / 1000"


def ref_id(number: int) -> str:
    """A, B, C …"""
    return chr(ord("A") + number)


def over_time(expr: str, legend: str, number: int = 0) -> prometheus.Dataquery:
    """A query over the dashboard's time range."""
    return _query(expr, number).range().legend_format(legend)


def now(expr: str, legend: str = "__auto", number: int = 0) -> prometheus.Dataquery:
    """A query at the end of the time range."""
    return _query(expr, number).instant().legend_format(legend)


def rows(expr: str, number: int = 0) -> prometheus.Dataquery:
    """The same, with a row for each series and a column for each label."""
    return _query(expr, number).instant().format(PromQueryFormat.TABLE)


def _query(expr: str, number: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(ref_id(number)).datasource(METRICS)


class Sql(Builder[Dataquery], Dataquery):
    """A query to PostgreSQL, for which the SDK has no builder: it builds itself."""

    def __init__(self, text: str) -> None:
        self._text = text

    def build(self) -> Dataquery:
        """Itself."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As Grafana keeps it."""
        return {
            "datasource": LEDGER.to_json(),
            "editorMode": "code",
            "format": "table",
            "rawQuery": True,
            "rawSql": self._text,
            "refId": ref_id(0),
        }
