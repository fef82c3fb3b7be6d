"""Fleet: what all GPUs do, what idle ones cost, by model, node and namespace, and what asks for a look."""

import re
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_build import style, variable
from grafana_build.board import CHOSEN, FLEET, OF_ROW, board, to_namespace, to_node, to_pages
from grafana_build.panel import by_state, curves, number
from grafana_build.recurring import cost_of_idle_hour, cost_of_month, coverage_of_month, used_and_idle
from grafana_build.sheet import Label, Sheet, Value, of_metrics, states
from grafana_build.source import CLUSTER, CLUSTER_IF_KNOWN, delta, down, once, rate, series

_ALERTS = Path(__file__).parent.parent / "prometheus" / "alerts.yaml"
_MODEL = 'model=~"$model"'
_DEVICES = series("gputally:device_gpus:rate15m", CLUSTER_IF_KNOWN, _MODEL, state="STATE")
_COST = series("gputally_capacity_month_cost", CLUSTER, _MODEL)
_IDLE_COST = series("gputally_capacity_month_cost", CLUSTER, _MODEL, part="idle")


def fleet() -> Dashboard:
    """The first dashboard to open."""
    return board(
        FLEET,
        "Fleet",
        "What all GPUs do and what idle ones cost. used + idle + unallocated + unavailable + unobserved = capacity.",
        [variable.data_source("prometheus"), variable.pages(), *_choices()],
        {
            "Now": _now(),
            "Where the time goes": _history(),
            "By model, node, namespace": [_by_model(), _by_node(), _by_namespace()],
            "What asks for a look": [_idle_now(), _alerts()],
        },
        page="/",
    )


def _choices() -> list[Any]:
    models = series("gputally_capacity_gpu_seconds_total", CLUSTER)
    clusters = "label_values(gputally_capacity_gpu_seconds_total, cluster)"
    return [
        variable.from_metrics("cluster", "Cluster", clusters, several=True),
        variable.from_metrics("model", "Model", f"label_values({models}, model)", several=True),
    ]


def _now() -> list[Any]:
    devices = series("gputally_device_info", CLUSTER_IF_KNOWN, _MODEL)
    return [
        number(
            "GPUs",
            "Devices that agents see now, each counted once, whatever state they are in.",
            f"count(count by (uuid) ({devices}))",
            style.GPUS,
        ),
        *used_and_idle(f"sum({_DEVICES})"),
        cost_of_idle_hour(_IDLE_COST),
        cost_of_month(
            "Idle cost, this month",
            "What idle GPUs cost this month so far: what a statement would say now.",
            _IDLE_COST,
        ),
        coverage_of_month(),
    ]


def _history() -> list[Any]:
    capacity = series("gputally_capacity_gpu_seconds_total", CLUSTER, _MODEL, state="STATE")
    idle_cost = series("gputally_namespace_month_cost", CLUSTER, _MODEL, part="idle")
    dearest = f"topk(10, sum by (namespace, currency) ({delta(idle_cost)}))"
    return [
        curves(
            "Capacity by state",
            "GPUs in each state, whoever they are charged to; the five states add up to the capacity. Time is known "
            "once its windows are committed. Time that no window covers is in reports, and missing here.",
            by_state(f"sum({once(rate(capacity))})"),
            style.GPUS,
            stacked=True,
            width=14,
        ),
        curves(
            "Idle cost per hour, the ten dearest namespaces",
            "What GPUs cost that a namespace's pods held idle, in the hour before each point. Not known in a month's "
            "first hour; a new price or a late window moves one hour.",
            {"{{namespace}} ({{currency}})": dearest},
            style.MONEY,
            unknown=style.UNPRICED,
            width=10,
            least=None,
        ),
    ]


def _by_model() -> Any:
    gpus = series("gputally:capacity_gpus:rate1h", CLUSTER, _MODEL, state="STATE")
    return of_metrics(
        Sheet(
            "By model",
            "What this month's time costs so far, whoever pays, and GPUs in each state, the mean of an hour.",
            [
                *_money(_IDLE_COST, _COST, "model"),
                *states(f"sum by (model) ({gpus})"),
            ],
            [Label("model", "Model"), Label("currency", "Currency")],
            sort="Idle cost, month",
            height=7,
        )
    )


def _by_node() -> Any:
    power = series("gputally_device_power_watts", CLUSTER_IF_KNOWN, _MODEL)
    watts = f"sum by (cluster, node) (max by (cluster, node, uuid) ({power}))"
    return of_metrics(
        Sheet(
            "By node",
            "GPUs in each state as the agents count them, the mean of 15 minutes, and the power that they draw. The "
            "most idle first: money is known by namespace and model, not by node.",
            [*states(f"sum by (cluster, node) ({_DEVICES})"), Value("Power", style.WATTS, watts, decimals=0)],
            [Label("cluster", "Cluster"), Label("node", "Node", (to_node(CHOSEN),))],
            sort="idle",
        )
    )


def _by_namespace() -> Any:
    gpus = series("gputally:namespace_gpus:rate1h", CLUSTER, state="STATE")
    efficiency = series("gputally:namespace_efficiency:ratio1d", CLUSTER)
    idle_cost = series("gputally_namespace_month_cost", CLUSTER, _MODEL, part="idle")
    cost = series("gputally_namespace_month_cost", CLUSTER, _MODEL)
    by = "cluster, namespace"
    return of_metrics(
        Sheet(
            "By namespace",
            "What a namespace's pods cost this month so far, how many GPUs they were charged for (the mean of an "
            "hour, all models), and used / (used + idle) of a day: time that nobody saw counts neither way.",
            [
                *_money(idle_cost, cost, by),
                *states(f"sum by ({by}) ({gpus})", style.PAID_BY_OWNERS),
                Value("Efficiency, day", style.RATIO, down(f"sum by ({by}) ({efficiency})"), decimals=1),
            ],
            [
                Label("cluster", "Cluster"),
                Label(
                    "namespace", "Namespace", (to_namespace(OF_ROW), to_pages("Ledger", "/namespaces/${__value.raw}"))
                ),
                Label("currency", "Currency"),
            ],
            sort="Idle cost, month",
            height=9,
        )
    )


def _money(idle_cost: str, cost: str, by: str) -> list[Value]:
    """Two columns of money by labels and currency: no sum goes over currencies."""
    named = (("Idle cost, month", idle_cost), ("Cost, month", cost))
    return [
        Value(title, style.MONEY, f"sum by ({by}, currency) ({once(each)})", decimals=2, unknown=style.UNPRICED)
        for title, each in named
    ]


def _idle_now() -> Any:
    spells = f"{series('gputally:partition_idle_spell_seconds:min', CLUSTER_IF_KNOWN)} > 1800"
    by = "cluster, namespace, pod"
    return of_metrics(
        Sheet(
            "Idle now",
            "Pods that have not used what they hold for 30 minutes or more: the longest unbroken measured time below "
            "1 %, and of how many GPUs, MIG devices or replicas. Sorted by money on the collector's page.",
            [
                Value("Idle for", style.SECONDS, f"max by ({by}) ({spells})"),
                Value("Partitions", style.COUNT, f"count by ({by}) ({spells})"),
            ],
            [
                Label("cluster", "Cluster"),
                Label("namespace", "Namespace", (to_namespace(CHOSEN), to_pages("By money", "/idle"))),
                Label("pod", "Pod"),
            ],
            sort="Idle for",
            width=12,
        )
    )


def _alerts() -> Any:
    names = "|".join(sorted(set(re.findall(r"alert: (\w+)", _ALERTS.read_text()))))
    firing = series("ALERTS", CLUSTER_IF_KNOWN, f'alertname=~"{names}"', alertstate="firing")
    return of_metrics(
        Sheet(
            "Alerts that fire",
            "Alerts of dashboards/prometheus/alerts.yaml that fire now. What to do about each stands under its name "
            "in docs/operations.md.",
            [Value("Firing", style.COUNT, f"count by (severity, alertname, cluster, namespace, node) ({firing})")],
            [
                Label("severity", "Severity"),
                Label("alertname", "Alert"),
                Label("cluster", "Cluster"),
                Label("namespace", "Namespace", (to_namespace(CHOSEN),)),
                Label("node", "Node", (to_node(CHOSEN),)),
            ],
            sort="Firing",
            width=12,
            unknown="none",
        )
    )
