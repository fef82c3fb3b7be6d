"""Write docs/metrics.md from what both processes show to Prometheus: `python docs/generate_metrics.py [--check]`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client.core import Metric

from gputally.agent.dcgm_names import dcgm_families
from gputally.agent.exposition.device import device_families, partition_families
from gputally.agent.exposition.itself import families_of_itself as agent_itself
from gputally.agent.exposition.pod import pod_families
from gputally.agent.snapshot import Snapshot
from gputally.collector.exposition.books import Books
from gputally.collector.exposition.budgets import burn_metrics
from gputally.collector.exposition.fleet import MOST, fleet_families
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.itself import families_of_itself as collector_itself
from gputally.collector.exposition.month import month_families
from gputally.collector.exposition.page import up_family
from gputally.collector.exposition.queues import MOST as MOST_QUEUES
from gputally.collector.exposition.queues import queue_metrics
from gputally.collector.exposition.waste import waste_metrics
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.month import Month

PAGE = Path(__file__).parent / "metrics.md"
_NODE = Snapshot("node")
_UNITS = {
    "seconds": "s",
    "joules": "J",
    "bytes": "B",
    "watts": "W",
    "celsius": "°C",
    "hertz": "Hz",
    "ratio": "1 is all",
    "cost": "`currency`",
    "info": "1",
}

_HEAD = """# Metrics

<!-- Written by docs/generate_metrics.py from the code. Do not edit. -->

What Prometheus reads of the agent (`http://NODE:9855/metrics`) and of the collector (`http://COLLECTOR:9857/metrics`,
or where `--metrics-listen` says). The words are those of [accounting](accounting.md).

- Base units: seconds, joules, bytes, ratios from 0 to 1. There are no hours and no percents but under DCGM's names.
- What is not known has no series. 0 was measured.
- Families of devices and families of pods never share a name: a sum over one name counts no time twice.
- Series are made anew at each scrape. What a container holds now ends with its reservation, its counters ten minutes
  after its last window.
- A counter of GPU time makes GPUs: `sum by (state) (rate(gputally_device_gpu_seconds_total[5m]))` is how many GPUs are
  in each state.
- A series that begins at 1, such as the first Xid of its code, is no increase to Prometheus. Ask for it with
  `increase(x[10m]) > 0 or (x unless last_over_time(x[1d] offset 10m))`.
"""
_AGENT = """
## Agent

Windows end every minute and are known about a quarter of a minute later; counters of GPU time and idle spells move
then. Values of now are at most as old as the last sample (one second by default), process lists, temperature, clocks
and their reasons five seconds.
"""
_SPELL = """
An idle spell belongs to one container on one partition: unbroken measured time with utilisation below 1 %, judged
window by window. Activity, the end of the reservation, or more than 120 s that were not measured end it; shorter ones
are not counted in. Seven idle GPUs of eight are seven series. `gputally_pod_gpu_memory_bytes` says what is held
meanwhile. A restart of the agent within these 120 s does not end a spell: it is kept beside the spool.
"""
_DCGM = """
### DCGM's names

With `--dcgm-names`, in DCGM's units, beside the families above: dashboards and queries made for DCGM's exporter go on
working. The labels are `gpu`, `UUID`, `pci_bus_id`, `device`, `modelName`, `Hostname` and `hostname`, of a MIG device
`GPU_I_ID` and `GPU_I_PROFILE`, and `namespace`, `pod` and `container` where one container holds all of it. Prometheus
renames those three to `exported_*` unless the scrape says `honor_labels: true`. `DCGM_FI_PROF_*` need GPM (Hopper and
newer): utilisation is not passed off as engine activity.
"""
_COLLECTOR = """
## Collector

Every replica shows the same fleet and the same month, so a sum over replicas is wrong: use `max without (instance)`.
The families of the process itself are each replica's own.

### The fleet

From the database. Counters grow by committed lines, in the transaction that commits them: a restart does not reset
them, and what late windows may take back is the gauge `gputally_gap_gpu_seconds`. Without a database none is there.
"""
_MONTH = """
### The month

The current month of the billing time zone, as the ledger has it, read at most once a minute and only while somebody
scrapes. Money is a gauge and no counter: a price may change for hours that are long counted, and a late window takes
gap time away again. It is what a statement would say now, so it begins anew with the month and can fall. What the last
hour of idle GPUs cost is `delta(gputally_namespace_month_cost{part="idle"}[1h])`.
"""
_SERIES = (
    ("an agent, for each device", "about 35, with GPM 5 more, and 1 for each Xid", "Xids above 999 are one"),
    ("an agent, for each MIG device", "3", ""),
    (
        "an agent, for each container and device",
        "7, 3 for each partition that it holds, 2 for each pod",
        "4096 containers times devices; `gputally_refused_pod_lines_total` counts what is beyond",
    ),
    ("an agent, for itself", "about 40, and 8 for each of the driver's functions", "it calls about 20"),
    (
        "a collector, for each cluster, namespace and model",
        "6, and up to 8 for the month",
        f"the {MOST} largest; `gputally_namespace_series_left_out` counts the rest, and the capacity has them",
    ),
    ("a collector, for each cluster and model", "6, and up to 15 for the month", ""),
    ("a collector, for each node", "1", ""),
    ("a collector, for each budget", "4", ""),
    ("a collector, for each cluster and namespace", "10", f"the {MOST} of the most idle time of the day"),
    ("a collector, for each queue", "5, and 1 for each of its flavors", f"the {MOST_QUEUES} of the most time"),
)
_LABELS = {
    "bound": "expected, low or high: the rest of the month like the mean, the least, the dearest of its days",
    "call": "the driver's function",
    "cluster": "the cluster's name; of a budget for all clusters empty",
    "container": "the container's name",
    "currency": "ISO 4217 code of the rate card",
    "flavor": "the ResourceFlavor of Kueue's quota; of Volcano's empty",
    "figure": "graphics, sm, occupancy, tensor or dram",
    "idle_alert": "the value of the pod's label `gputally.io/idle-alert`; empty without it",
    "index": "the driver's number of the device, for display only",
    "kind": "over-asked, waiting-to-start, after-the-end, forgotten or between-kernels",
    "mig": "enabled or disabled",
    "minor": "N of /dev/nvidiaN",
    "model": "the driver's product name",
    "name": "the namespace or team of a budget",
    "namespace": "the Kubernetes namespace",
    "node": "the node's name",
    "owner_kind": "pod, host or platform",
    "part": "used, idle, unallocated, unavailable, unobserved, energy or overhead",
    "partition": "gpu, replica, or the UUID of a MIG device",
    "pci_bus_id": "as in sysfs",
    "pod": "the pod's name",
    "profile": "of a MIG device, such as 1g.10gb",
    "queue": "Kueue's ClusterQueue or Volcano's Queue; empty: no queue that is known",
    "reason": "why: of refused readings and windows a word; of clocks the driver's reason, or a bit without a name",
    "resource": "such as nvidia.com/gpu or nvidia.com/mig-1g.10gb",
    "scope": "namespace or team",
    "source": "nvml, kubelet, api (the pods) or node (the node's annotations)",
    "state": "used, idle, unallocated, unavailable or unobserved",
    "system": "kueue or volcano; empty: another's, or no queue",
    "task": "settler, or what is followed of the cluster: namespaces, nodes, pods, clusterqueues, localqueues, queues",
    "unit": "gpu_hours, or amount: of the card's currency",
    "uuid": "the device's UUID",
    "workload": "the name of the object that manages the pod; empty where none does",
    "workload_kind": "its kind, such as Job or ReplicaSet",
    "xid": "the number of the error; 999 is any above it",
}


def agent() -> Iterator[tuple[str, Sequence[Metric]]]:
    """The agent's groups of families."""
    yield "Devices", list(device_families(_NODE))
    yield "Partitions", list(partition_families(_NODE))
    yield "Containers", list(pod_families(_NODE))
    yield "The agent itself", list(agent_itself(_NODE))


def fleet() -> Sequence[Metric]:
    """What every replica of a collector shows of the database."""
    return [up_family(up=True), *fleet_families(Books((), 0))]


def month() -> Sequence[Metric]:
    """What every replica shows of the month."""
    return [*month_families(Month(0, 0)), *burn_metrics(()), *queue_metrics(()), *waste_metrics((), "")]


def process() -> Sequence[Metric]:
    """What a replica shows of itself."""
    return list(collector_itself(Work(IngestStats(), WriterStats(), settled=0)))


def labels_of(family: Metric) -> Sequence[str]:
    """The labels of a family that has no series yet: prometheus-client keeps them, but has no word for it."""
    return tuple(getattr(family, "_labelnames", ()))


def name_of(family: Metric) -> str:
    """As it stands on the page."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def unit_of(family: Metric) -> str:
    """By the name's last word; a number where it is none of a unit."""
    if family.documentation.startswith("Whether"):
        return "0 or 1"
    if family.name.endswith("timestamp_seconds"):
        return "s since 1970"
    return _UNITS.get(family.name.rpartition("_")[2], "number")


def table(families: Iterable[Metric]) -> str:
    """One row a family."""
    rows = (
        (f"`{name_of(f)}`", f.type, ", ".join(labels_of(f)), unit_of(f), f.documentation.removesuffix("."))
        for f in families
    )
    return "| name | type | labels | unit | meaning |\n|---|---|---|---|---|\n" + "".join(map(_row, rows))


def dcgm_table() -> str:
    """DCGM's names; they say their unit themselves."""
    rows = ((f"`{f.name}`", f.documentation) for f in dcgm_families(_NODE))
    return "| name | meaning |\n|---|---|\n" + "".join(map(_row, rows))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    """The whole document."""
    parts = [_HEAD, _AGENT]
    for title, families in agent():
        parts += [f"\n### {title}\n", _SPELL if title == "Containers" else "", "\n", table(families)]
    parts += [_DCGM, "\n", dcgm_table(), _COLLECTOR, "\n", table(fleet()), _MONTH, "\n", table(month())]
    parts += ["\n### The collector itself\n\n", table(process()), "\n## Labels\n\n", _label_table()]
    parts += ["\n## How many series\n\n| of | series | bound |\n|---|---|---|\n", *map(_row, _SERIES)]
    return "".join([*parts, "\nNo label holds a pid, a pod's UID, a time or an error text.\n"])


def _label_table() -> str:
    families = [each for _, group in agent() for each in group] + [*fleet(), *month(), *process()]
    used = sorted({label for family in families for label in labels_of(family)})
    return "| label | what it says |\n|---|---|\n" + "".join(_row((f"`{label}`", _LABELS[label])) for label in used)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check say whether it is what would be written."""
    text = page()
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        sys.stderr.write("docs/metrics.md is not what the code says: run python docs/generate_metrics.py\n")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
