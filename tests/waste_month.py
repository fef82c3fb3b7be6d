"""A month of AI platforms of which the waste is known: a gang of 64 GPUs over 8 nodes with a slow rank and two failed
attempts, notebooks, an inference service that scales, Spark and Ray.

Each week is like the one before. `python -m tests.waste_month` (make month) lives through all days of a month; the test
takes a Tuesday's four hours, in which everything happens, through the same code. Windows come from the real agent over
simulated GPUs. The truth comes from the scenario alone, minute by minute, and knows of no window, hour or posting.
"""

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.waste_model import Held, Shares, shares_of
from tests.windows import all_received

from gputally.accounting.keys import Owner
from gputally.accounting.line import DeviceWindow, Window
from gputally.agent.simulated.pattern import DAY_US
from gputally.agent.simulated.scenario import InContainer, Scenario
from gputally.agent.simulated.scenario_file import parse
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.cluster.pod import watched_pod
from gputally.collector.cluster.pod_history import PodHistory
from gputally.collector.cluster.watch import Listing, ObjectKind
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import read_waste
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference
from gputally.collector.workloads.read_pod import read_owner
from gputally.demo.backfill import MINUTE_US, days
from gputally.demo.cluster import PODS, Cluster, plural_of
from gputally.demo.lives import Life, lives
from gputally.demo.repeat import Days

UTC = ZoneInfo("UTC")
CLUSTER = "month"
HOUR_US = 60 * MINUTE_US
START_US = 1_793_491_200_000_000  # 2026-11-01, a Sunday
TUESDAY_US = START_US + 2 * DAY_US
EVERYTHING_HAPPENS = (TUESDAY_US + 9 * HOUR_US - 5 * MINUTE_US, TUESDAY_US + 12 * HOUR_US + 45 * MINUTE_US)
GANG_NODES, GPUS = 8, 8
SLOW = 5  # the rank for which the others wait
_GANG = "tue 09:00-09:50", "tue 09:52-10:30", "tue 10:32-12:30"
_FAILS = "Error", "OOMKilled", ""
_TRAINER = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}

Json = dict[str, Any]


def fleet() -> dict[str, Scenario]:
    """The nodes by their names."""
    nodes = {f"gang-{rank}": _gang_node(rank) for rank in range(GANG_NODES)} | {"shared": _shared_node()}
    return {name: parse(json.dumps(node), START_US) for name, node in nodes.items()}


def _gang_node(rank: int) -> Json:
    """One rank of a TrainJob that fails twice before it succeeds: once after work, once without a kernel.

    Staging for 20 minutes, work, a hang; nothing but a process; staging for 28 minutes, work with a pause of 35.
    """
    share = 95 if rank == SLOW else 71
    pods = [_rank_of_gang(rank, attempt) for attempt in range(3)]
    busy: list[object] = [{"09:20": 80, "09:45": 0}, 0, {"11:00": share, "11:20": 0, "11:55": share, "12:22": 0}]
    here = "tue 09:05-09:50", "tue 09:55-10:30", "tue 10:40-12:30"
    loads = [_load(pod, range(GPUS), busy[at], here[at], 61) for at, pod in enumerate(pods)]
    return {"gpus": [_gpu(rank, number) for number in range(GPUS)], "pods": pods, "workloads": loads}


def _rank_of_gang(rank: int, attempt: int) -> Json:
    owners = [
        _owner("batch/v1", "Job", "pretrain-{day}-node-0", labels=_TRAINER),
        _owner("jobset.x-k8s.io/v1alpha2", "JobSet", "pretrain-{day}"),
        _owner("trainer.kubeflow.org/v1alpha1", "TrainJob", "pretrain-{day}"),
    ]
    labels = {
        "jobset.sigs.k8s.io/jobset-name": "pretrain-{day}",
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "jobset.sigs.k8s.io/job-global-index": "0",
        "jobset.sigs.k8s.io/restart-attempt": str(attempt),
    }
    pod = _pod("llm", f"pretrain-node-0-{rank}-{attempt}", range(GPUS), owners, _GANG[attempt], labels)
    pod["annotations"] = {"batch.kubernetes.io/job-completion-index": str(rank)}
    return pod | ({"fails": _FAILS[attempt]} if _FAILS[attempt] else {})


def _shared_node() -> Json:
    """Two notebooks, a service with a second replica by day, two Spark executors, a Ray worker that stays too long."""
    forgotten = _pod("notes", "ada-0", [0], _notebook("ada"), "", {"notebook-name": "ada", "statefulset": "ada"})
    untouched = _pod("notes", "bob-0", [1], _notebook("bob"), "", {"notebook-name": "bob", "statefulset": "bob"})
    served = {"serving.kserve.io/inferenceservice": "chat", "component": "predictor", "pod-template-hash": "5f7"}
    always = _pod("serving", "chat-predictor-5f7-a", [2], _service(), "", served)
    by_day = _pod("serving", "chat-predictor-5f7-b", [3], _service(), "mon-fri 10:00-11:30", served)
    executors = [
        _pod("etl", f"sales-exec-{at}", [3 + at], _spark(), "mon-fri 09:10-10:00", _executor(at)) for at in (1, 2)
    ]
    labels = {"ray.io/cluster": "tune-{minute}", "ray.io/node-type": "worker"}
    ray = [_owner("ray.io/v1", "RayCluster", "tune-{minute}"), _owner("ray.io/v1", "RayJob", "tune")]
    worker = _pod("etl", "tune-worker", [6, 7], ray, "mon-fri 09:00-12:00", labels)
    loads = [
        _load(forgotten, [0], {"09:00": 40, "09:40": 0, "11:00": 25, "11:10": 0}, "", 30),
        _load(untouched, [1], 0, "tue 09:30-24:00", 12),
        _load(always, [2], {"every": "1h", "steps": {"0m": 30, "40m": 0, "44m": 12}}, "", 66),
        _load(by_day, [3], {"10:04": 45, "11:20": 0}, "mon-fri 10:03-11:30", 66),
        _load(executors[0], [4], 90, "mon-fri 09:11-09:58", 20),
        _load(executors[1], [5], {"every": "10m", "steps": {"0m": 40, "6m": 0}}, "mon-fri 09:11-09:58", 20),
        _load(worker, [6], {"09:30": 77, "10:30": 0}, "mon-fri 09:20-10:40", 44),
    ]
    gpus = [_gpu(GANG_NODES, number) for number in range(GPUS)]
    return {"gpus": gpus, "pods": [forgotten, untouched, always, by_day, *executors, worker], "workloads": loads}


def _notebook(name: str) -> list[Json]:
    return [_owner("apps/v1", "StatefulSet", name), _owner("kubeflow.org/v1", "Notebook", name)]


def _service() -> list[Json]:
    kserve = _owner("serving.kserve.io/v1beta1", "InferenceService", "chat")
    return [_owner("apps/v1", "ReplicaSet", "chat-5f7"), _owner("apps/v1", "Deployment", "chat-predictor"), kserve]


def _spark() -> list[Json]:
    application = _owner("sparkoperator.k8s.io/v1beta2", "SparkApplication", "sales-{day}")
    return [_owner("v1", "Pod", "sales-{day}-driver"), application]


def _executor(number: int) -> dict[str, str]:
    return {
        "spark-app-selector": "spark-{day}",
        "spark-role": "executor",
        "spark-exec-id": str(number),
        "sparkoperator.k8s.io/launched-by-spark-operator": "true",
        "sparkoperator.k8s.io/app-name": "sales-{day}",
    }


def _owner(api: str, kind: str, name: str, **more: dict[str, str]) -> Json:
    return {"api": api, "kind": kind, "name": name, **more}


def _gpu(node: int, number: int) -> Json:
    uuid = f"GPU-{node:08x}-0000-4000-8000-{number:012x}"
    watts = {"idle_watts": 70, "max_watts": 700}
    return {"uuid": uuid, "model": "NVIDIA H100 80GB HBM3", "memory_gib": 80, **watts}


def _pod(
    namespace: str, name: str, gpus: range | list[int], owners: list[Json], hours: str, labels: dict[str, str]
) -> Json:
    when = {"when": {"hours": [hours]}} if hours else {}
    containers = [{"name": "main", "gpus": list(gpus)}]
    return {"namespace": namespace, "name": name, "labels": labels, "owners": owners, "containers": containers, **when}


def _load(pod: Json, gpus: range | list[int], busy: object, hours: str, gib: int) -> Json:
    when = {"when": {"hours": [hours]}} if hours else {}
    container = f"{pod['namespace']}/{pod['name']}/main"
    return {"container": container, "gpus": list(gpus), "busy_percent": busy, "memory_gib": gib, **when}


# What is true of it.


@dataclass(frozen=True)
class Truth:
    """By workload, as reports name it, in microseconds."""

    kinds: dict[str, Shares]
    failed_us: dict[str, int]
    straggling_us: dict[str, Fraction]


def truth(nodes: Mapping[str, Scenario], start_us: int, end_us: int) -> Truth:
    """Of [start_us, end_us), as it is known at its end."""
    kinds: dict[str, Shares] = defaultdict(lambda: dict.fromkeys(Kind, (0, 0)))
    failed: dict[str, int] = defaultdict(int)
    ranks: dict[tuple[str, str, int], list[tuple[int, int]]] = defaultdict(list)
    for life, scenario in lived(nodes, start_us, end_us):
        label, held = _label(life), list(held_by(life, scenario, start_us, end_us))
        ended = life.ended_us(end_us) is not None
        _add(kinds[label], shares_of(held, (lambda _: True) if ended else (lambda _: False)))
        if ended and life.pod.fails:
            failed[label] += sum(row.used_us + row.idle_us for row in held)
        for hour, used_us, held_us in _by_hour(held) if _is_ranked(life) else ():
            ranks[label, _attempt(life), hour].append((used_us, held_us))
    late: dict[str, Fraction] = defaultdict(Fraction)
    for (label, _, _), of_hour in ranks.items():
        best = max(Fraction(used_us, held_us) for used_us, held_us in of_hour)
        late[label] += sum(best * held_us - used_us for used_us, held_us in of_hour)
    return Truth(dict(kinds), dict(failed), {label: us for label, us in late.items() if us})


def _add(to: Shares, more: Mapping[Hashable, Shares]) -> None:
    for shares in more.values():
        for kind, (us, unsure_us) in shares.items():
            to[kind] = (to[kind][0] + us, to[kind][1] + unsure_us)


def _by_hour(held: Sequence[Held]) -> Iterator[tuple[int, int, int]]:
    """Used and held time by the hour."""
    for hour in sorted({row.start_us // HOUR_US for row in held}):
        rows = [row for row in held if row.start_us // HOUR_US == hour]
        used_us = sum(row.used_us for row in rows)
        yield hour, used_us, used_us + sum(row.idle_us for row in rows)


def _is_ranked(life: Life) -> bool:
    """Whether its platform counts it among those that work together: ranks of the gang, Spark's executors."""
    return bool(life.pod.annotations) or "spark-exec-id" in dict(life.pod.labels)


def _attempt(life: Life) -> str:
    return dict(life.pod.labels).get("jobset.sigs.k8s.io/restart-attempt", "")


def lived(nodes: Mapping[str, Scenario], start_us: int, end_us: int) -> Iterator[tuple[Life, Scenario]]:
    """Each life of a pod in [start_us, end_us), with its node."""
    for name, scenario in nodes.items():
        for pod in scenario.pods:
            yield from ((life, scenario) for life in lives(pod, name, start_us, end_us) if life.start_us < end_us)


def _label(life: Life) -> str:
    platforms = {"TrainJob": "kubeflow", "Notebook": "kubeflow", "InferenceService": "kserve", "RayJob": "ray"}
    owner = life.pod.owners[-1]
    return f"{owner.kind.lower()}.{platforms.get(owner.kind, 'spark')}/{life.run.filled(owner.name)}"


def held_by(life: Life, scenario: Scenario, start_us: int, end_us: int) -> Iterator[Held]:
    """Each minute of each GPU of a pod."""
    until_us = end_us if life.end_us is None else min(life.end_us, end_us)
    for container in life.pod.containers:
        for gpu in scenario.gpus:
            if gpu.info.uuid not in container.gpus:
                continue
            loads = [load for load in gpu.workloads if load.place == InContainer(life.pod, container.name)]
            for minute_us in range(max(life.start_us, start_us), until_us, MINUTE_US):
                next_us = minute_us + MINUTE_US
                used_us = sum(load.busy.integral(minute_us, next_us) for load in loads) // 100
                memory = sum(load.memory_bytes * load.present.integral(minute_us, next_us) for load in loads)
                idle_us = MINUTE_US - used_us
                yield Held(life.run.uid, container.name, gpu.info.uuid, minute_us, next_us, used_us, idle_us, memory)


# How it comes into a ledger.


def fill(engine: Engine, nodes: Mapping[str, Scenario], start_us: int, end_us: int) -> None:
    """Every window of [start_us, end_us), through the agent's code, and what the API says of pods at its end.

    Ranks that do the same are lived through once.
    """
    committer = Committer(engine, UTC, None)
    lives_of = {name: Days(nodes[name], CLUSTER, name) for name in ("gang-0", f"gang-{SLOW}", "shared")}
    for day in reversed(days(start_us, end_us)):
        made = {name: [window for some in life.windows(*day) for window in some] for name, life in lives_of.items()}
        for name, scenario in nodes.items():
            windows = made.get(name) or [_as(name, scenario, nodes["gang-0"], one) for one in made["gang-0"]]
            committer.commit(all_received(windows), now_us=end_us)
    learn(engine, CLUSTER, Cluster(nodes, start_us), end_us)
    settle(engine, UTC)


def _as(name: str, scenario: Scenario, other: Scenario, window: Window) -> Window:
    """The window of a node that does what the other did, on GPUs and with pods of its own."""
    uuids = {gpu.info.uuid: own.info.uuid for gpu, own in zip(other.gpus, scenario.gpus, strict=True)}
    runs = {
        run.uid: own.run(us)
        for us in (window.start_us - MINUTE_US, window.start_us, window.end_us)
        for pod, own in zip(other.pods, scenario.pods, strict=True)
        if (run := pod.run(us))
    }

    def owner(of: Owner) -> Owner:
        run = runs.get(of.pod_uid)
        return of if run is None else replace(of, pod=run.name, pod_uid=run.uid)

    def device(of: DeviceWindow) -> DeviceWindow:
        lines = tuple(replace(line, key=replace(line.key, owner=owner(line.key.owner))) for line in of.lines)
        edges = (of.start_holders, of.end_holders)
        start, end = (tuple(replace(one, owner=owner(one.owner)) for one in edge) for edge in edges)
        return replace(of, uuid=uuids[of.uuid], lines=lines, start_holders=start, end_holders=end)

    return replace(window, node=name, devices=tuple(device(one) for one in window.devices))


def learn(engine: Engine, name: str, cluster: Cluster, us: int) -> None:
    """Let the ledger know whose work all pods are, as the watch of the API would."""
    book = shipped_book()

    def lookup(namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        plural = plural_of(reference.kind)
        return read_owner(cluster.owner(reference.api_version, plural, namespace, reference.name, us), book.wanted)

    found = [watched_pod(item, book.wanted) for item in cluster.objects(PODS, us)]
    pods = [pod for pod in found if pod is not None]
    history = PodHistory(engine, name, book, lookup, lambda: us, lambda: us)
    history.replace(ObjectKind.POD, Listing(pods, str(us)))


def by_workload(engine: Engine, start_us: int, end_us: int) -> dict[str, Shares]:
    """The table of waste."""
    with reading(engine) as connection:
        found = read_waste(connection, UTC, Query(period_of(start_us, end_us), UTC, (By.WORKLOAD,)))
    return {row.keys[-1]: {kind: (one.us, one.provisional_us) for kind, one in row.kinds.items()} for row in found.rows}


def period_of(start_us: int, end_us: int) -> Period:
    """Whole hours around it."""
    return Period(start_us // HOUR_US * HOUR_US, -(-end_us // HOUR_US) * HOUR_US)


def main(folder: Path, days_long: int) -> int:
    """A month, told against its truth; 0 where they are one."""
    span = START_US, START_US + days_long * DAY_US
    engine = open_database(f"sqlite:///{folder}/month.sqlite")
    migrate(engine)
    nodes, begun = fleet(), monotonic()
    fill(engine, nodes, *span)
    told, true = by_workload(engine, *span), truth(nodes, *span).kinds
    engine.dispose()
    wrong = {label for label in told.keys() | true.keys() if told.get(label) != true.get(label)}
    print(f"{days_long} days of {len(nodes)} nodes, {len(true)} workloads, {monotonic() - begun:.0f} s")  # noqa: T201
    for label in sorted(wrong):
        print(f"{label}: {told.get(label)}, in truth {true.get(label)}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="gputally-month-") as made:
        sys.exit(main(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 30))
