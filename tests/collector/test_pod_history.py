"""Whose work pods are: of those that matter, as it was first known, the same from any replica, and how they ended."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.databases import empty
from tests.watched_pods import failed, gpu_pod, owner
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, window

from gputally.collector.cluster.pod import WatchedPod, watched_pod
from gputally.collector.cluster.pod_history import LIST_AGAIN_US, PodHistory
from gputally.collector.cluster.watch import Listing, ObjectKind, VersionGone
from gputally.collector.database.engine import reading
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ingest.commit import Committer
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import Lookup, OwnerFacts, OwnerReference, unreadable

BOOK = shipped_book()
NOW_US = START_US + 10 * MINUTE_US


class Clock:
    def __init__(self, us: int = NOW_US) -> None:
        self.us = us

    def __call__(self) -> int:
        return self.us


def everybody(_namespace: str, reference: OwnerReference) -> OwnerFacts:
    """A cluster in which every owner is there, and nobody owns it."""
    return OwnerFacts(reference.uid)


def history(
    engine: Engine, lookup: Lookup = everybody, clock: Clock | None = None, cluster: str = "east"
) -> PodHistory:
    clock = clock or Clock()
    return PodHistory(engine, cluster, BOOK, lookup, clock, clock)


def read(raw: dict[str, Any]) -> WatchedPod:
    found = watched_pod(raw, BOOK.wanted)
    assert found is not None
    return found


def put(to: PodHistory, *raws: dict[str, Any]) -> None:
    for raw in raws:
        to.put(ObjectKind.POD, read(raw))


def listed(to: PodHistory, version: int, *raws: dict[str, Any]) -> None:
    to.replace(ObjectKind.POD, Listing([read(raw) for raw in raws], str(version)))


def rows(engine: Engine) -> list[Mapping[str, Any]]:
    with reading(engine) as connection:
        found = connection.execute(select(pod_workload).order_by("cluster", "pod_uid")).mappings()
        return [dict(row) for row in found]


def row(engine: Engine) -> Mapping[str, Any]:
    (found,) = rows(engine)
    return found


JOB = {
    "owner": owner(),
    "labels": {
        "training.kubeflow.org/job-name": "bert",
        "training.kubeflow.org/replica-index": "3",
        "kueue.x-k8s.io/queue-name": "gold",
    },
}


def test_whose_work_a_pod_is_is_written_with_its_evidence(engine: Engine) -> None:
    put(history(engine), gpu_pod(**JOB))
    found = row(engine)
    assert (found["label"], found["platform"], found["kind"], found["name"], found["uid"]) == (
        "pytorchjob.kubeflow/bert",
        "kubeflow",
        "PyTorchJob",
        "bert",
        "uid-of-bert",
    )
    assert (found["evidence"], found["complete"], found["namespace"], found["rank"]) == ("owner", 1, "search", 3)
    assert (found["queue"], found["sources"]) == ("gold", '{"queue":"label kueue.x-k8s.io/queue-name"}')
    assert (found["first_seen_us"], found["phase"], found["finished_us"], found["gone_us"]) == (
        NOW_US,
        "Running",
        None,
        None,
    )


def test_how_it_ended_is_kept_when_it_is_gone(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock=clock)
    put(to, gpu_pod(version=1))
    clock.us += MINUTE_US
    to.delete(ObjectKind.POD, read(gpu_pod(version=2, status=failed())))
    found = row(engine)
    assert (found["phase"], found["reason"], found["finished_us"]) == ("Failed", "OOMKilled", START_US + 60 * MINUTE_US)
    assert (found["gone_us"], found["first_seen_us"]) == (clock.us, NOW_US)


def test_no_label_that_is_written_later_moves_it(engine: Engine) -> None:
    """Who imitates another workload once the bill is known has no part of it; what was unknown is filled in, once."""
    to = history(engine)
    put(to, gpu_pod(version=1))
    claimed = {"dag_id": "theirs", "task_id": "t", "airflow_version": "2"}
    put(to, gpu_pod(version=2, labels=claimed, annotations={"gputally.io/mlflow-run-id": "run-1"}))
    put(to, gpu_pod(version=3, annotations={"gputally.io/mlflow-run-id": "run-2"}))
    found = row(engine)
    assert (found["label"], found["evidence"], found["run"]) == ("pod/train-0", "pod", "run-1")


def test_an_answer_without_owners_gives_way_to_one_with_them(engine: Engine) -> None:
    replica_set = gpu_pod(owner=owner("ReplicaSet", "web-5d8f", "apps/v1"), labels={"pod-template-hash": "5d8f"})
    put(history(engine, unreadable), replica_set)
    before = row(engine)
    assert (before["label"], before["evidence"], before["complete"]) == ("deployment/web", "claim", 0)

    def deployment(_namespace: str, reference: OwnerReference) -> OwnerFacts:
        above = OwnerReference("apps/v1", "Deployment", "web", "uid-of-web", controller=True)
        return OwnerFacts(reference.uid, owners=(above,) if reference.kind == "ReplicaSet" else ())

    listed(history(engine, deployment), 1, replica_set)
    after = row(engine)
    assert (after["label"], after["evidence"], after["uid"], after["complete"]) == (
        "deployment/web",
        "owner",
        "uid-of-web",
        1,
    )
    listed(history(engine, unreadable), 2, replica_set)
    assert row(engine)["evidence"] == "owner"


def test_while_an_owner_cannot_be_read_all_are_listed_again_now_and_then(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, unreadable, clock)
    listed(to, 1, gpu_pod())
    clock.us += LIST_AGAIN_US
    to.synced(ObjectKind.POD)
    put(to, gpu_pod("owned", owner=owner()))
    with pytest.raises(VersionGone):
        to.synced(ObjectKind.POD)
    listed(to, 2, gpu_pod(), gpu_pod("owned", owner=owner()))
    to.synced(ObjectKind.POD)


def test_what_is_older_or_known_writes_nothing(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock=clock)
    put(to, gpu_pod(version=5, status=failed()))
    before = row(engine)
    clock.us += MINUTE_US
    put(to, gpu_pod(version=4), gpu_pod(version=5), gpu_pod(version=6, status=failed()))
    assert row(engine) == before


def test_an_event_on_its_way_does_not_bring_a_pod_back_and_a_list_does(engine: Engine) -> None:
    to = history(engine)
    put(to, gpu_pod(version=1))
    to.delete(ObjectKind.POD, read(gpu_pod(version=2)))
    put(to, gpu_pod(version=3))
    assert row(engine)["gone_us"] == NOW_US
    listed(to, 4, gpu_pod(version=3))
    assert row(engine)["gone_us"] is None


def test_what_is_not_on_a_list_is_gone_unless_it_is_younger_or_elsewhere(engine: Engine) -> None:
    to, elsewhere = history(engine), history(engine, cluster="west")
    put(elsewhere, gpu_pod("far", version=1))
    put(to, gpu_pod("old", version=1), gpu_pod("stays", version=2), gpu_pod("young", version=9))
    listed(to, 5, gpu_pod("stays", version=2))
    assert {found["pod"]: found["gone_us"] for found in rows(engine)} == {
        "old": NOW_US,
        "stays": None,
        "young": None,
        "far": None,
    }


def test_a_list_says_that_a_pod_is_still_there(engine: Engine) -> None:
    clock = Clock()
    to = history(engine, clock=clock)
    listed(to, 1, gpu_pod())
    clock.us += MINUTE_US
    listed(to, 1, gpu_pod())
    assert (row(engine)["first_seen_us"], row(engine)["last_seen_us"]) == (NOW_US, clock.us)


def test_pods_matter_that_ask_for_a_gpu_or_have_time_booked(engine: Engine) -> None:
    held = window(device(reserved(pod(name="sneaks"), MINUTE_US, 0)))
    Committer(engine, ZoneInfo("UTC"), None).commit(all_received([held]), now_us=NOW_US)
    asking, sneaking, other = gpu_pod("asks"), gpu_pod("sneaks", gpus=0), gpu_pod("web", gpus=0)
    again = gpu_pod("sneaks", gpus=0, uid="its-follower")
    kept = history(engine).keep([read(raw) for raw in (asking, sneaking, other, again)])
    assert [each.facts.name for each in kept] == ["asks", "sneaks"]
    assert history(engine).keep([]) == []


events = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 6), st.sampled_from(["run", "fail", "label"])), max_size=6
)
every_order = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@every_order
@given(told=events)
def test_replicas_that_are_told_the_same_write_it_once(engine: Engine, told: list[tuple[str, int, str]]) -> None:
    """However many times and by whomever: the last state of each pod is that of its highest version."""
    empty(engine)
    content = {"run": {}, "fail": {"status": failed()}, "label": {"labels": {"app": "x"}}}
    by_version = {(name, version): content[what] for name, version, what in told}
    raws = [gpu_pod(name, version=version, **fields) for (name, version), fields in sorted(by_version.items())]
    one, two = history(engine), history(engine)
    for raw in raws:
        put(one, raw)
        put(two, raw)
    first = rows(engine)
    put(two, *raws)
    assert rows(engine) == first
    last = {name: fields for (name, _), fields in sorted(by_version.items())}
    assert {found["pod"]: found["phase"] for found in first} == {
        name: fields.get("status", {"phase": "Running"})["phase"]
        for name, fields in last.items()  # type: ignore[union-attr]
    }


def test_many_pods_are_taken_over_piece_by_piece(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gputally.collector.cluster.pod_history._PIECE", 2)
    listed(history(engine), 9, *(gpu_pod(f"train-{at}") for at in range(5)))
    listed(history(engine), 10)
    assert [found["gone_us"] for found in rows(engine)] == [NOW_US] * 5
