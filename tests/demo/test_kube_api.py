"""The demo's Kubernetes API, asked by the collector's own watch: every pod is known in the words of its platform."""

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml
from sqlalchemy import Engine, select
from tests.programs import wait_until

from gputally.agent.simulated.pattern import DAY_US
from gputally.agent.simulated.scenario_file import load
from gputally.collector.cluster import kube
from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.kube import open_api
from gputally.collector.cluster.kube_pods import open_owners, open_plurals, open_watched
from gputally.collector.cluster.labels import read_namespaces, read_nodes
from gputally.collector.cluster.owners import Owners, Plurals
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.pod import WatchedPod
from gputally.collector.cluster.pod_history import PodHistory
from gputally.collector.cluster.watch import ClusterWatch, ObjectKind
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.queues.kube_queues import open_queues
from gputally.collector.queues.quota import SeenLocalQueue, SeenQueue
from gputally.collector.workloads.parse import shipped_book
from gputally.demo.cluster import NODES, PODS, Cluster
from gputally.demo.kube_api import KubeApi

SCENARIOS = Path(__file__).resolve().parents[2] / "demo" / "scenarios"
SINCE_US = 1_793_577_600_000_000  # Monday, 2026-11-02T00:00:00Z
HOUR_US = DAY_US // 24
MINUTE_US = HOUR_US // 60
UTC = ZoneInfo("UTC")
THURSDAY_US = SINCE_US + 3 * DAY_US + 9 * HOUR_US
ALWAYS = {
    "pytorchjob.kubeflow/llm-pretrain",
    "pytorchjob.kubeflow/segment-v2",
    "inferenceservice.kserve/chat",
    "inferenceservice.kserve/rerank",
    "raycluster.ray/sweep",
    *(f"notebook.kubeflow/jupyter-{number}" for number in range(1000, 1005)),
}
BY_THURSDAY = {
    "cronworkflow.argo/eval-nightly",
    "rayjob.ray/rollout",
    "sparkapplication.spark/embed-batch",
    "trainjob.kubeflow/finetune-20261104",
    "pipelinerun.kubeflow/features-20261104",
}


@dataclass
class Clock:
    now_us: int = THURSDAY_US

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    queues = list(yaml.safe_load_all((SCENARIOS.parent / "queues.yaml").read_bytes()))
    return Cluster({path.stem: load(path, 0) for path in sorted(SCENARIOS.glob("*.json"))}, SINCE_US, queues)


@pytest.fixture(scope="module")
def api(cluster: Cluster, clock: Clock) -> Iterator[KubeApi]:
    api = KubeApi(cluster, clock)
    api.start()
    yield api
    api.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('demo')}/demo.sqlite")
    migrate(engine)
    yield engine
    engine.dispose()


def pods_of(api: KubeApi, engine: Engine, clock: Clock) -> ClusterWatch[WatchedPod]:
    """The watch of pods as the collector builds it."""
    place, book = KubePlace(api.url), shipped_book()
    owners = Owners(open_owners(place, book.wanted, Plurals(open_plurals(place), clock)), clock)
    history = PodHistory(engine, "demo", book, owners, clock, clock)
    return ClusterWatch(open_watched(place, book.wanted, history.keep), history, kinds=[ObjectKind.POD])


def rows(engine: Engine) -> dict[str, dict[str, object]]:
    with reading(engine) as connection:
        return {row["pod"]: dict(row) for row in connection.execute(select(pod_workload)).mappings()}


def test_every_pod_of_the_month_is_known_as_the_work_of_its_platform(
    api: KubeApi, engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that ended before anybody watched, and one that ends while somebody does."""
    monkeypatch.setattr(kube, "_WATCH_S", 1)
    watch = pods_of(api, engine, clock)
    asked = iter([False, False, False, True])  # after three changes: a batch begins, two pods end

    def stopped() -> bool:
        clock.now_us = THURSDAY_US + 10 * HOUR_US
        return next(asked, True)

    assert watch.follow(ObjectKind.POD, stopped), watch.last_error
    found = rows(engine)
    assert {row["label"] for row in found.values()} == ALWAYS | BY_THURSDAY
    assert all(row["complete"] for row in found.values()), "every owner could be read"
    slow = [row for row in found.values() if "finetune" in str(row["label"]) and row["rank"] == 1]
    fell = {row["attempt"]: (row["phase"], row["reason"]) for row in slow}
    assert fell == {0: ("Failed", "OOMKilled"), 1: ("Failed", "Error"), 2: ("Succeeded", None)}
    replica = found[f"chat-predictor-7c9d8b6f5-{(THURSDAY_US - 2 * HOUR_US) // MINUTE_US}"]
    assert (replica["phase"], replica["finished_us"]) == ("Succeeded", THURSDAY_US + 10 * HOUR_US)
    step = next(row for row in found.values() if row["label"] == "pipelinerun.kubeflow/features-20261104")
    assert (step["user"], step["run"]) == ("user-1001", "features-20261104")


def test_nodes_and_namespaces_have_labels(api: KubeApi, engine: Engine, clock: Clock) -> None:
    watch = ClusterWatch(open_api(KubePlace(api.url)), ClusterHistory(engine, "demo", UTC, clock))
    for kind in (ObjectKind.NODE, ObjectKind.NAMESPACE):
        assert watch.follow(kind, partial(next, iter([True]))), watch.last_error
    with reading(engine) as connection:
        nodes, namespaces = read_nodes(connection, UTC), read_namespaces(connection, UTC)
    assert [name for _, name in nodes.names] == ["node-a", "node-b", "node-c", "node-d", "node-e"]
    labels = nodes.at("demo", "node-b", THURSDAY_US)
    assert labels is not None
    assert labels.labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"
    assert ("demo", "training") in namespaces.names


def test_kueues_queues_have_the_quota_that_pods_use(api: KubeApi, engine: Engine) -> None:
    """Every queue that a pod names is there, and its namespace leads into it."""
    seen = open_queues(KubePlace(api.url))
    quotas = {one.name: one for one in seen.objects(ObjectKind.CLUSTER_QUEUE).objects if isinstance(one, SeenQueue)}
    local = [one for one in seen.objects(ObjectKind.LOCAL_QUEUE).objects if isinstance(one, SeenLocalQueue)]
    ways = {(one.namespace, one.cluster_queue) for one in local}
    asked = {(row["namespace"], row["cluster_queue"]) for row in rows(engine).values() if row["cluster_queue"]}
    assert asked == ways
    assert {queue for _, queue in asked} == set(quotas)
    assert [(one.flavor, one.nominal, one.most) for one in quotas["vision"].quotas] == [("a100", 4, 8)]


def test_a_watch_tells_what_a_second_list_shows(cluster: Cluster) -> None:
    """From any list on, the changes lead to what is listed later; nothing is told twice."""
    for hours in range(0, 7 * 24, 5):
        start_us, end_us = SINCE_US + hours * HOUR_US, SINCE_US + (hours + 30) * HOUR_US
        seen = {one["metadata"]["uid"]: one for one in cluster.objects(PODS, start_us)}
        for event, about in cluster.changes(PODS, start_us, end_us):
            assert (event == "ADDED") is (about["metadata"]["uid"] not in seen)
            seen[about["metadata"]["uid"]] = about
        assert seen == {one["metadata"]["uid"]: one for one in cluster.objects(PODS, end_us)}
    assert cluster.changes(NODES, SINCE_US, THURSDAY_US) == []


@pytest.mark.parametrize(
    "path",
    [
        "/apis/kueue.x-k8s.io/v1beta1/clusterqueues",
        "/apis/kueue.x-k8s.io/v1beta1",
        "/apis/apps/v1/namespaces/inference/deployments/none",
        "/api/v1/namespaces/inference/pods/none",
        "/",
    ],
)
def test_what_the_cluster_has_not_is_not_found(api: KubeApi, path: str) -> None:
    answer = httpx.get(api.url + path, timeout=60)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


def test_closing_ends_open_watches(cluster: Cluster, clock: Clock) -> None:
    own = KubeApi(cluster, clock)
    own.start()
    asked = {"watch": "1", "resourceVersion": str(clock.now_us), "timeoutSeconds": "600"}
    with httpx.stream("GET", f"{own.url}/api/v1/nodes", params=asked, timeout=60) as answer:
        own.close()
        assert '"BOOKMARK"' in answer.read().decode()


def test_a_client_that_is_killed_leaves_nothing_on_the_screen(
    cluster: Cluster, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its connection is reset between two requests; what the demo's table shares its terminal with stays quiet."""
    own = KubeApi(cluster, clock)
    own.start()
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", httpx.URL(own.url).port or 0)) as client:
        client.sendall(b"GET / HT")
        wait_until(lambda: set(threading.enumerate()) - before, 60, "its thread")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: not set(threading.enumerate()) - before, 60, "its end")
    own.close()
    assert capfd.readouterr().err == ""
