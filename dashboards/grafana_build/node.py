"""Node: its GPUs, who is on which partition, how they are, and what went wrong with them."""

from typing import Any

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana_build import style, variable
from grafana_build.board import CHOSEN, NODE, board, to_namespace, to_pages
from grafana_build.panel import by_state, curves, number
from grafana_build.recurring import used_and_idle
from grafana_build.sheet import Label, Sheet, Value, of_metrics
from grafana_build.source import CLUSTER, CLUSTER_IF_KNOWN, of_agents, once, rate, series, up

_NODE = 'node="$node"'
_DEVICE = 'uuid=~"$device"'


def node() -> Dashboard:
    """For who runs the machines."""
    return board(
        NODE,
        "Node and GPUs",
        "The GPUs of a node: their state, who holds which partition of them, how they are, and what went wrong.",
        [variable.data_source("prometheus"), variable.pages(), *_choices()],
        {
            "Now": _now(),
            "Who is on which partition": [_holders(), _partitions(), _unreserved()],
            "Devices": [_devices()],
            "Over time": [*_work(), *_health()],
            "What went wrong": [_xids(), _reasons()],
        },
        page="/gpus",
    )


def _choices() -> list[Any]:
    clusters = "label_values(gputally_node_last_window_timestamp_seconds, cluster)"
    nodes = series("gputally_device_info", CLUSTER_IF_KNOWN)
    devices = series("gputally_device_info", CLUSTER_IF_KNOWN, _NODE)
    return [
        variable.from_metrics("cluster", "Cluster", clusters, several=True),
        variable.from_metrics("node", "Node", f"label_values({nodes}, node)"),
        variable.from_metrics("device", "Device", f"label_values({devices}, uuid)", several=True),
    ]


def _of(metric: str, **labels: str) -> str:
    """What the node's agent says of the chosen devices, each once (an agent that was replaced has two series)."""
    return f"max by (uuid) ({series(metric, CLUSTER_IF_KNOWN, _NODE, _DEVICE, **labels)})"


def _now() -> list[Any]:
    gpus = series("gputally:device_gpus:rate15m", CLUSTER_IF_KNOWN, _NODE, _DEVICE, state="STATE")
    unobserved = series("gputally:node_unobserved:ratio15m", CLUSTER_IF_KNOWN, _NODE)
    last = series("gputally_node_last_window_timestamp_seconds", CLUSTER, _NODE)
    return [
        number("GPUs", "Devices that the agent sees.", f"count({_of('gputally_device_info')})", style.GPUS),
        number(
            "Can be used",
            "Devices that are neither lost nor waiting for a reset.",
            f"sum({_of('gputally_device_available')})",
            style.GPUS,
        ),
        *used_and_idle(f"sum({gpus})"),
        number(
            "Unobserved",
            "The part of the node's GPU time of 15 minutes that nobody can tell about. Devices that cannot be measured "
            "at all are left out.",
            up(f"max({unobserved})"),
            style.RATIO,
            decimals=1,
            thresholds=style.attention(above=0.05),
        ),
        number(
            "Last window",
            "How long ago the last window began that the collector has of this node. Two minutes are normal.",
            f"time() - max({once(last)})",
            style.SECONDS,
            unknown="none arrived",
            thresholds=style.attention(above=300),
        ),
    ]


def _holders() -> Any:
    device = series("gputally_device_info", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    here = f"on (uuid) group_left (index) max by (uuid, index) ({device})"
    values = [
        Value("Share", style.RATIO, f"{_held('gputally_pod_gpu_share_ratio')} * {here}", decimals=0),
        Value("Idle for", style.SECONDS, f"{_held('gputally_pod_gpu_idle_spell_seconds')} * {here}"),
        Value("Held for", style.SECONDS, f"{_held('gputally_pod_gpu_held_seconds')} * {here}"),
    ]
    labels = [
        Label("index", "GPU"),
        Label("uuid", "Device"),
        Label("partition", "Partition"),
        Label("namespace", "Namespace", (to_namespace(CHOSEN),)),
        Label("pod", "Pod", (to_pages("GPUs now", "/gpus"),)),
        Label("container", "Container"),
    ]
    text = (
        "Containers that hold a partition (the whole gpu, a MIG device, replicas) of a device of this node: their "
        "share of it, since when, and how long they have not used it. What is not here is held by nobody."
    )
    return of_metrics(Sheet("Who holds what", text, values, labels, sort="Idle for", unknown="nothing is held"))


def _held(metric: str) -> str:
    return f"max by (namespace, pod, container, uuid, partition) ({series(metric, CLUSTER_IF_KNOWN)})"


def _partitions() -> Any:
    by = "uuid, partition, profile"
    used, whole, busy = (
        f"max by ({by}) ({series(f'gputally_partition_{name}', CLUSTER_IF_KNOWN, _NODE, _DEVICE)})"
        for name in ("memory_used_bytes", "memory_total_bytes", "utilization_ratio")
    )
    values = [
        Value("Memory", style.BYTES, whole),
        Value("Memory in use", style.BYTES, used),
        Value("Utilisation", style.RATIO, busy, decimals=0),
    ]
    labels = [Label("profile", "Profile"), Label("partition", "MIG device"), Label("uuid", "Device")]
    text = (
        "MIG devices, and the share of time in which any engine of them was active: by GPM, on Hopper and newer. "
        "Elsewhere the driver cannot tell, and nor does this table."
    )
    return of_metrics(Sheet("MIG devices", text, values, labels, sort="Memory", width=12, unknown="no MIG device"))


def _unreserved() -> Any:
    unreserved, intruder = (
        rate(series(f"gputally_device_{kind}_gpu_seconds_total", CLUSTER_IF_KNOWN, _NODE, _DEVICE), "15m")
        for kind in ("unreserved", "intruder")
    )
    values = [
        Value("Of what nobody held", style.RATIO, of_agents("uuid, owner_kind", unreserved), decimals=1),
        Value("Of what others held", style.RATIO, of_agents("uuid, owner_kind", intruder), decimals=1),
    ]
    labels = [Label("uuid", "Device"), Label("owner_kind", "By")]
    text = (
        "Processes of pods or of the host that ran on a device without a reservation, as a part of the last 15 "
        "minutes. What nobody held is charged to them as used; what others held is theirs, and in no state."
    )
    sheet = Sheet("Use without a reservation", text, values, labels, sort="Of what others held", width=12)
    return of_metrics(sheet)


def _devices() -> Any:
    info = series("gputally_device_info", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    available = f"{_of('gputally_device_available')} * on (uuid) group_left (index, model, mig)"
    values = [
        Value("Can be used", style.YES_NO, f"{available} max by (uuid, index, model, mig) ({info})"),
        Value("Utilisation", style.RATIO, _of("gputally_device_utilization_ratio"), decimals=0),
        Value("Memory in use", style.BYTES, _of("gputally_device_memory_used_bytes")),
        Value("Memory", style.BYTES, _of("gputally_device_memory_total_bytes")),
        Value("Of dead processes", style.BYTES, _of("gputally_device_ghost_memory_bytes")),
        Value("Of intruders", style.BYTES, _of("gputally_device_intruder_memory_bytes")),
        Value("Power", style.WATTS, _of("gputally_device_power_watts"), decimals=0),
        Value("Temperature", style.CELSIUS, _of("gputally_device_temperature_celsius"), decimals=0),
        Value("SM clock", style.HERTZ, _of("gputally_device_sm_clock_hertz")),
        Value("Memory clock", style.HERTZ, _of("gputally_device_memory_clock_hertz")),
    ]
    labels = [Label("index", "GPU"), Label("uuid", "Device"), Label("model", "Model"), Label("mig", "MIG")]
    text = (
        "Each device at its last sample. The number of a GPU is for display only; its UUID is its identity. Memory of "
        "dead processes is held by processes that are gone, that of intruders by processes without a reservation of "
        "what somebody else holds. Utilisation is absent where MIG is enabled."
    )
    return of_metrics(Sheet("Devices", text, values, labels, sort="Memory in use"))


def _work() -> list[Any]:
    seconds = series("gputally_device_gpu_seconds_total", CLUSTER_IF_KNOWN, _NODE, _DEVICE, state="STATE")
    activity = series("gputally_device_activity_ratio", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    return [
        curves(
            "GPUs by state",
            "The time of the chosen devices, as the agent counts it: the five states add up to the devices.",
            by_state(f"sum({of_agents('uuid', rate(seconds))})"),
            style.GPUS,
            stacked=True,
        ),
        curves(
            "Utilisation",
            "The share of time in which at least one kernel was executing. It says nothing about how well a GPU was "
            "used. Absent where MIG is enabled.",
            {"{{uuid}}": _of("gputally_device_utilization_ratio")},
            style.RATIO,
        ),
        curves(
            "How well it is used",
            "Figures of quality by GPM (Hopper and newer), the mean of the chosen devices. They are never the base of "
            "a bill.",
            {"{{figure}}": f"avg by (figure) (max by (uuid, figure) ({activity}))"},
            style.RATIO,
        ),
    ]


def _health() -> list[Any]:
    energy = series("gputally_device_energy_joules_total", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    return [
        curves(
            "Memory in use",
            "Memory in use on each device.",
            {"{{uuid}}": _of("gputally_device_memory_used_bytes")},
            style.BYTES,
        ),
        curves(
            "Power",
            "What each device draws: its board, not the host.",
            {"{{uuid}}": of_agents("uuid", rate(energy))},
            style.WATTS,
        ),
        curves(
            "Temperature",
            "The temperature of each device.",
            {"{{uuid}}": _of("gputally_device_temperature_celsius")},
            style.CELSIUS,
        ),
    ]


def _xids() -> Any:
    events = series("gputally_device_xid_events_total", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    recent = series("gputally:device_xid_recent:max15m", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    by = "uuid, model, xid"
    values = [
        Value("Since the agent started", style.COUNT, f"max by ({by}) (last_over_time({events}[$__range]))"),
        Value("Last 15 minutes", style.COUNT, f"max by ({by}) ({recent})", unknown="none"),
    ]
    labels = [Label("xid", "Xid"), Label("uuid", "Device"), Label("model", "Model")]
    text = (
        "Errors that the driver reported, by Xid (999 is any above it). Xid 79 makes a device unavailable; others are "
        "counted only. What they mean stands in docs/operations.md under XidCritical and XidWarning."
    )
    return of_metrics(Sheet("Xids", text, values, labels, sort="Last 15 minutes", width=12, unknown=style.NONE_SEEN))


def _reasons() -> Any:
    reasons = series("gputally_device_clocks_event_reason", CLUSTER_IF_KNOWN, _NODE, _DEVICE)
    return curves(
        "Why clocks are not higher",
        "On how many devices each reason holds. gpu-idle is harmless; software-thermal-slowdown and "
        "hardware-thermal-slowdown are heat.",
        {"{{reason}}": f"sum by (reason) (max by (uuid, reason) ({reasons}))"},
        style.COUNT,
    )
