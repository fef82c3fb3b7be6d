"""Which quota a queue had at which instant: what holds is never changed, and replicas write it once."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.kube_api import FakeKubeApi, Trouble
from tests.queues import cluster_queue, delete, listed, local_queue, put, rows, volcano_queue
from tests.windows import START_US

from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.watch import QUEUED, ClusterError, ClusterWatch, NotThere, ObjectKind
from gputally.collector.database import schema_queue
from gputally.collector.queues.history import QueueHistory, Seen
from gputally.collector.queues.kube_queues import open_queues

NOW_US = START_US + 1_000_000
CLUSTER_QUEUE, LOCAL_QUEUE, QUEUE = QUEUED


class Clock:
    def __init__(self) -> None:
        self.us = NOW_US

    def __call__(self) -> int:
        self.us += 1
        return self.us


def history(engine: Engine, clock: Clock | None = None) -> QueueHistory:
    return QueueHistory(engine, "east", clock or Clock())


def quotas(engine: Engine) -> list[tuple[object, ...]]:
    names = ("queue", "uid", "flavor", "nominal", "valid_from_us", "valid_to_us")
    return [tuple(row[name] for name in names) for row in rows(engine, schema_queue.queue_quota)]


def test_a_quota_holds_from_the_creation_of_its_queue_until_there_is_another(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock)
    put(to, cluster_queue(version=1))
    put(to, cluster_queue(nominal="12", version=2))
    changed_us = clock.us
    put(to, cluster_queue(nominal="12", version=3))
    assert quotas(engine) == [
        ("gpus", "uid-of-gpus", "h100", 8, START_US, changed_us),
        ("gpus", "uid-of-gpus", "h100", 12, changed_us, None),
    ]


def test_what_is_held_of_a_quota_at_the_moment_makes_no_history(engine: Engine) -> None:
    to = history(engine)
    put(to, cluster_queue(version=1), cluster_queue(version=2, held="3"), cluster_queue(version=3, held="5"))
    (row,) = rows(engine, schema_queue.queue_quota)
    assert (row["reserved"], row["resource_version"], row["valid_from_us"]) == (5, 3, START_US)


def test_flavors_have_histories_of_their_own_and_a_cohort_is_part_of_it(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock)
    put(to, cluster_queue(version=1), cluster_queue(version=2, flavor="a100"))
    moved_us = clock.us
    put(to, cluster_queue(version=3, flavor="a100", cohort="all"))
    assert [row[2:4] + row[4:] for row in quotas(engine)] == [
        ("a100", 8, moved_us, clock.us),
        ("a100", 8, clock.us, None),
        ("h100", 8, START_US, moved_us),
    ]


def test_an_event_that_is_older_than_what_is_known_writes_nothing(engine: Engine) -> None:
    to = history(engine)
    put(to, cluster_queue(nominal="12", version=5))
    put(to, cluster_queue(nominal="8", version=4), cluster_queue(nominal="8", version=5))
    assert [row[3] for row in quotas(engine)] == [12]


def test_a_queue_that_is_gone_holds_nothing_and_an_event_on_its_way_does_not_bring_it_back(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock)
    put(to, cluster_queue(version=1))
    delete(to, cluster_queue(version=9))
    gone_us = clock.us
    put(to, cluster_queue(nominal="99", version=8))
    assert quotas(engine) == [("gpus", "uid-of-gpus", "h100", 8, START_US, gone_us)]


def test_a_queue_made_again_under_its_name_is_another(engine: Engine) -> None:
    to = history(engine)
    put(to, local_queue(version=1))
    put(to, local_queue(into="others", uid="new", version=2, created="2026-07-01T00:00:00.5Z"))
    (old, new) = sorted(rows(engine, schema_queue.local_queue), key=lambda row: row["valid_from_us"])
    assert (old["valid_to_us"], new["valid_from_us"]) == (START_US + 500_000, START_US + 500_000)
    assert (new["cluster_queue"], new["valid_to_us"]) == ("others", None)


def test_what_a_list_leaves_out_is_gone_unless_it_is_younger_than_the_list(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock)
    put(to, cluster_queue("old", version=3), cluster_queue("young", version=12), volcano_queue(deserved="4", version=2))
    listed(to, CLUSTER_QUEUE, 10, cluster_queue("kept", version=4))
    ends = {row[0]: row[5] is None for row in quotas(engine)}
    assert ends == {"old": False, "young": True, "kept": True, "batch": True}


def test_a_list_that_another_replica_has_overtaken_changes_nothing_back(engine: Engine) -> None:
    to = history(engine)
    put(to, cluster_queue(nominal="12", version=7))
    listed(to, CLUSTER_QUEUE, 6, cluster_queue(nominal="8", version=6))
    assert [(row[3], row[5]) for row in quotas(engine)] == [(12, None)]


changes = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]), st.sampled_from(["1", "2", "many"]), st.sampled_from(["x", "y"]), st.booleans()
    ),
    max_size=12,
)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=changes)
def test_of_one_queue_and_flavor_one_quota_holds_at_a_time(engine: Engine, steps: list[tuple[str, ...]]) -> None:
    """Whatever happens to it, and however often it is told."""
    empty(engine)
    to = history(engine)
    for version, (uid, nominal, flavor, gone) in enumerate(steps, start=1):
        raw = cluster_queue(nominal=nominal, uid=uid, flavor=flavor, version=version)
        put(to, raw, raw)
        if gone:
            delete(to, raw)
    for flavor in ("x", "y"):
        spans = sorted((row[4], row[5]) for row in quotas(engine) if row[2] == flavor)
        assert all(start < (end or start + 1) for start, end in spans)
        assert all(one[1] is not None and one[1] <= other[0] for one, other in itertools.pairwise(spans))


# Over the API


@pytest.fixture
def server() -> Iterator[FakeKubeApi]:
    with FakeKubeApi() as running:
        running.served += ["kueue.x-k8s.io/v1beta2", "scheduling.volcano.sh/v1beta1"]
        yield running


def watch(server: FakeKubeApi, to: QueueHistory) -> ClusterWatch[Seen]:
    return ClusterWatch(open_queues(KubePlace(server.url)), to, kinds=QUEUED, optional=True)


def test_queues_are_followed_through_the_api(engine: Engine, server: FakeKubeApi) -> None:
    for raw in (cluster_queue(), local_queue(), volcano_queue(deserved="4")):
        server.put(raw)
    following = watch(server, history(engine))
    for kind in QUEUED:
        assert following.follow(kind, lambda: True)
    assert [row[0] for row in quotas(engine)] == ["gpus", "batch"]
    assert [row["cluster_queue"] for row in rows(engine, schema_queue.local_queue)] == ["gpus"]
    asked = {request.path for request in server.requests}
    assert asked == {
        "/apis/kueue.x-k8s.io/v1beta2/clusterqueues",
        "/apis/kueue.x-k8s.io/v1beta2/localqueues",
        "/apis/scheduling.volcano.sh/v1beta1/queues",
    }


def test_a_change_is_told_by_the_watch_in_the_version_that_is_served(engine: Engine, server: FakeKubeApi) -> None:
    server.served.remove("kueue.x-k8s.io/v1beta2")
    server.served.append("kueue.x-k8s.io/v1beta1")
    api = open_queues(KubePlace(server.url))
    version = api.objects(CLUSTER_QUEUE).version
    server.put(cluster_queue())
    change = next(iter(api.changes(CLUSTER_QUEUE, version)))
    assert change.seen is not None
    assert change.seen.name == "gpus"
    assert server.requests[-1].path == "/apis/kueue.x-k8s.io/v1beta1/clusterqueues"


@pytest.mark.parametrize("code", [403, 404])
def test_without_the_right_or_without_the_platform_it_is_told_once(
    engine: Engine, server: FakeKubeApi, code: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    server.trouble = Trouble(code, "no")
    following = watch(server, history(engine))
    for _ in range(2):
        for kind in QUEUED:
            assert not following.follow(kind, lambda: True)
    assert following.last_error == ""
    assert len(caplog.records) == len(QUEUED)
    assert all("everything else goes on" in record.message for record in caplog.records)


def test_what_is_not_served_in_any_version_is_not_there(server: FakeKubeApi) -> None:
    server.served.clear()
    with pytest.raises(NotThere):
        open_queues(KubePlace(server.url)).objects(ObjectKind.LOCAL_QUEUE)


def test_an_object_that_cannot_be_read_is_an_error_of_the_cluster(server: FakeKubeApi) -> None:
    server.put({**local_queue(), "spec": {}})
    with pytest.raises(ClusterError, match="cannot be read"):
        open_queues(KubePlace(server.url)).objects(ObjectKind.LOCAL_QUEUE)
