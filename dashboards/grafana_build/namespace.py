"""Namespace: what do I hold, what do I use, since when is it idle, what does it cost."""

from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_build import style, variable
from grafana_build.board import CHOSEN, NAMESPACE, board, to_node, to_pages
from grafana_build.panel import by_state, curves, number
from grafana_build.recurring import cost_of_idle_hour, cost_of_month, used_and_idle
from grafana_build.sheet import Label, Sheet, Value, of_metrics
from grafana_build.source import CLUSTER, CLUSTER_IF_KNOWN, delta, down, of_agents, once, rate, series

_OWN = 'namespace="$namespace"'
_HELD_BY = "cluster, namespace, pod, container, uuid, partition"
_SHARE = series("gputally_pod_gpu_share_ratio", CLUSTER_IF_KNOWN, _OWN)
_SPELL = series("gputally:partition_idle_spell_seconds:min", CLUSTER_IF_KNOWN, _OWN)
_SECONDS = series("gputally_pod_gpu_seconds_total", CLUSTER_IF_KNOWN, _OWN, state="STATE")
_GPUS = f"sum({of_agents('cluster, namespace, pod, container, uuid', rate(_SECONDS, '15m'))})"
_COST = series("gputally_namespace_month_cost", CLUSTER, _OWN)
_IDLE_COST = series("gputally_namespace_month_cost", CLUSTER, _OWN, part="idle")


def namespace() -> Dashboard:
    """For who has pods."""
    return board(
        NAMESPACE,
        "Namespace",
        "What the pods of a namespace hold, what they use of it, since when it is idle, and what it costs.",
        [variable.data_source("prometheus"), variable.pages(), *_choices()],
        {
            "Now": _now(),
            "What it costs": _money(),
            "Who holds what": [_holders()],
            "Over time": [*_charged(), *_pods()],
        },
        page="/namespaces/${namespace}",
    )


def _choices() -> list[Any]:
    clusters = "label_values(gputally_namespace_gpu_seconds_total, cluster)"
    names = series("gputally_namespace_gpu_seconds_total", CLUSTER)
    return [
        variable.from_metrics("cluster", "Cluster", clusters, several=True),
        variable.from_metrics("namespace", "Namespace", f"label_values({names}, namespace)"),
    ]


def _now() -> list[Any]:
    power = series("gputally:namespace_power_watts:rate1h", CLUSTER, _OWN)
    efficiency = series("gputally:namespace_efficiency:ratio1d", CLUSTER, _OWN)
    return [
        number(
            "Holds",
            "GPUs that the namespace's containers hold now: the sum of their shares. No process is needed.",
            f"sum(max by ({_HELD_BY}) ({_SHARE}))",
            style.GPUS,
            decimals=1,
            unknown="nothing is held",
        ),
        *used_and_idle(_GPUS),
        number(
            "Longest idle",
            "The longest idle spell now: unbroken measured time below 1 % of one container on one partition. 0 while "
            "all is in use.",
            f"max({_SPELL})",
            style.SECONDS,
        ),
        number(
            "Efficiency, day",
            "used / (used + idle) of 24 hours: time that nobody saw counts neither way.",
            down(f"min({efficiency})"),
            style.RATIO,
            decimals=1,
        ),
        number(
            "Power",
            "Watts that the namespace was charged for, the mean of an hour.",
            f"sum({power})",
            style.WATTS,
            decimals=0,
        ),
    ]


def _money() -> list[Any]:
    budgets = series("gputally_budget_spent_ratio", 'cluster=~"$cluster|"', scope="namespace", name="$namespace")
    unpriced = series("gputally_namespace_month_unpriced_gpu_seconds", CLUSTER, _OWN)
    return [
        cost_of_month(
            "Cost, this month",
            "What the namespace's pods cost this month so far, energy included: what a statement would say now.",
            _COST,
        ),
        cost_of_month("Idle cost, this month", "The part of it that was held and not used.", _IDLE_COST),
        cost_of_idle_hour(_IDLE_COST),
        number(
            "Unpriced, this month",
            "GPU-hours of this month that no rate has a price for. They are in no amount of money.",
            f"sum({once(unpriced)}) / 3600",
            style.HOURS,
            unknown=style.NOT_KNOWN,
            decimals=1,
            thresholds=style.attention(above=1),
        ),
        number(
            "Budget spent",
            "The part of this month's budget of the namespace that is spent, in its unit. Budgets of teams are on the "
            "Chargeback dashboard.",
            down(f"max by (unit) ({budgets})", 100),
            style.RATIO,
            unknown="no budget",
            legend="{{unit}}",
            decimals=0,
            thresholds=style.attention(above=1),
            width=8,
        ),
    ]


def _holders() -> Any:
    node = f"max by (uuid, node, model) ({series('gputally_device_info', CLUSTER_IF_KNOWN)})"
    workload = series("gputally_pod_info", CLUSTER_IF_KNOWN, _OWN)
    by_pod = f"max by (cluster, namespace, pod, workload_kind, workload) ({workload})"
    share = f"max by ({_HELD_BY}) ({_SHARE})"
    of_pod = f"({share} * on (cluster, namespace, pod) group_left (workload_kind, workload) {by_pod})"
    values = [
        Value("Share", style.RATIO, f"{of_pod} * on (uuid) group_left (node, model) {node}", decimals=0),
        Value("Idle for", style.SECONDS, _held_value("gputally_pod_gpu_idle_spell_seconds")),
        Value("Held for", style.SECONDS, _held_value("gputally_pod_gpu_held_seconds")),
        Value("Memory on the GPU", style.BYTES, f"({share} > bool -1) * {_memory()}"),
    ]
    labels = [
        Label("pod", "Pod"),
        Label("container", "Container"),
        Label("workload_kind", "Kind"),
        Label("workload", "Workload"),
        Label("node", "Node", (to_node(CHOSEN), to_pages("GPUs now", "/gpus"))),
        Label("model", "Model"),
        Label("uuid", "Device"),
        Label("partition", "Partition"),
    ]
    text = (
        "What each container holds now: the share of the device, how long it has held it, how long it has not used it "
        "(0: in use), and the memory that its processes hold on that device meanwhile. The longest idle first."
    )
    return of_metrics(Sheet("Who holds what", text, values, labels, sort="Idle for", unknown="nothing is held"))


def _held_value(metric: str) -> str:
    return f"max by ({_HELD_BY}) ({series(metric, CLUSTER_IF_KNOWN, _OWN)})"


def _memory() -> str:
    by = "cluster, namespace, pod, container, uuid"
    memory = series("gputally_pod_gpu_memory_bytes", CLUSTER_IF_KNOWN, _OWN)
    return f"on ({by}) group_left () max by ({by}) ({memory})"


def _charged() -> list[Any]:
    charged = series("gputally_namespace_gpu_seconds_total", CLUSTER, _OWN, state="STATE")
    return [
        curves(
            "Charged GPUs by state",
            "GPUs that the namespace was charged for: used, idle (held and not used), unobserved (held, and nobody can "
            "say). Known once windows are committed.",
            by_state(f"sum({once(rate(charged))})", style.PAID_BY_OWNERS),
            style.GPUS,
            stacked=True,
        ),
        curves(
            "Cost per hour by part",
            "What the namespace's pods cost in the hour before each point, by state, and energy where it has a price. "
            "Not known in a month's first hour.",
            {"{{part}} ({{currency}})": f"sum by (part, currency) ({delta(_COST)})"},
            style.MONEY,
            unknown=style.UNPRICED,
            least=None,
        ),
    ]


def _pods() -> list[Any]:
    unreserved, intruder = (
        rate(series(f"gputally_pod_{kind}_gpu_seconds_total", CLUSTER_IF_KNOWN, _OWN), "15m")
        for kind in ("unreserved", "intruder")
    )
    memory = series("gputally_pod_gpu_memory_bytes", CLUSTER_IF_KNOWN, _OWN)
    return [
        curves(
            "Idle spells by pod",
            "How long each pod has not used what it holds: unbroken measured time below 1 % of its longest idle "
            "partition. A line that stops was not measured, or the pod let go.",
            {"{{pod}}": f"max by (pod) ({_SPELL})"},
            style.SECONDS,
        ),
        curves(
            "Memory by pod",
            "Memory that the pods' processes hold on devices, busy or not.",
            {"{{pod}}": f"sum by (pod) (max by (cluster, pod, container, uuid) ({memory}))"},
            style.BYTES,
        ),
        curves(
            "Use without a reservation, by pod",
            "GPUs that pods used without holding them: of what nobody held (part of used), and of what somebody else "
            "held (in no state).",
            {"{{pod}}": f"sum by (pod) ({of_agents('cluster, pod, container, uuid', f'{unreserved} + {intruder}')})"},
            style.GPUS,
            width=24,
            height=7,
        ),
    ]
