"""Pods: which fields are kept, and what the table of this node's pods knows at which moment."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.kube.pods import KEEP_US, Pod, PodContainer, PodTable, parse_pod, parse_time

RECORDED = Path(__file__).parent.parent / "data" / "kubernetes"
CONTAINER_ID = "b90994bed009c0e90411ad81c9dc8f213d7db87d6273bc6777c6107875d541f4"


def recorded(name: str) -> dict[str, Pod]:
    """The pods of a recorded LIST, by name."""
    items = json.loads((RECORDED / name).read_text())["items"]
    return {pod.name: pod for pod in map(parse_pod, items)}


def made(uid: str, name: str = "train-0", container_id: str = "") -> Pod:
    containers = (PodContainer("main", container_id),) if container_id else ()
    return Pod(uid, "ml", name, containers=containers)


# What is kept


def test_a_recorded_pod_keeps_what_accounting_needs() -> None:
    pod = recorded("api/pods.list.full.after.json")["chat-llm-5fb6f697c8-5vp2h"]
    assert (pod.namespace, pod.phase) == ("inference", "Running")
    assert pod.labels["app"] == "chat-llm"
    assert [(owner.kind, owner.name, owner.controller) for owner in pod.owners] == [
        ("ReplicaSet", "chat-llm-5fb6f697c8", True)
    ]
    assert pod.started_us == parse_time("2026-11-20T19:03:55Z")
    assert pod.gpu_requests == (("nvidia.com/gpu", 1),)
    assert pod.containers == (PodContainer("server", CONTAINER_ID, parse_time("2026-11-20T19:03:56Z")),)


@pytest.mark.parametrize(
    "name", sorted(str(path.relative_to(RECORDED)) for path in RECORDED.rglob("*pods.json")), ids=lambda name: name
)
def test_every_recorded_list_of_pods_is_understood(name: str) -> None:
    """Every container id that the text holds is a container of its pod."""
    items = json.loads((RECORDED / name).read_text())["items"]
    for item in items:
        ids = {one.id for one in parse_pod(item).containers if one.id}
        text = json.dumps(item["status"])
        assert all(text.count(f"containerd://{one}") for one in ids)
        assert len(ids) == len({part.split('"')[0] for part in text.split("containerd://")[1:]})


def test_a_finished_container_says_when_and_why() -> None:
    pods = recorded("podresources/g-completed/after-15s.pods.json")
    [ended] = [one for pod in pods.values() for one in pod.containers if one.exit_reason == "Completed"]
    assert ended.started_us is not None
    assert ended.finished_us is not None
    assert ended.started_us < ended.finished_us


def test_a_container_that_crashed_is_still_known_by_its_earlier_id() -> None:
    """Late samples speak of the run before."""
    pod = parse_pod(
        {
            "metadata": {"uid": "u", "namespace": "n", "name": "p"},
            "status": {
                "containerStatuses": [
                    {
                        "name": "main",
                        "containerID": "containerd://new",
                        "state": {"running": {"startedAt": "2026-11-20T19:00:10Z"}},
                        "lastState": {
                            "terminated": {
                                "containerID": "containerd://old",
                                "reason": "OOMKilled",
                                "startedAt": "2026-11-20T19:00:00Z",
                                "finishedAt": "2026-11-20T19:00:05Z",
                            }
                        },
                    }
                ]
            },
        }
    )
    assert [(one.id, one.exit_reason) for one in pod.containers] == [("old", "OOMKilled"), ("new", None)]


def test_a_pod_that_has_not_started_has_no_times() -> None:
    """None, never 0: the API showed no start."""
    pod = parse_pod({"metadata": {"uid": "u", "namespace": "n", "name": "p"}, "status": {"phase": "Pending"}})
    assert pod == Pod("u", "n", "p", phase="Pending")
    assert pod.started_us is None


def test_metadata_alone_is_a_pod_too() -> None:
    pods = recorded("api/pods.list.metadata.after.json")
    assert {pod.uid for pod in pods.values()} == {pod.uid for pod in recorded("api/pods.list.full.after.json").values()}


@pytest.mark.parametrize(
    ("phase", "ended"),
    [("Pending", False), ("Running", False), ("Unknown", False), ("Succeeded", True), ("Failed", True)],
)
def test_a_pod_has_ended_when_none_of_its_containers_can_run_again(phase: str, ended: bool) -> None:
    raw = {"metadata": {"namespace": "ml", "name": "train", "uid": "u"}, "status": {"phase": phase}}
    assert parse_pod(raw).ended is ended


def test_the_applied_manifest_is_dropped() -> None:
    """kubectl keeps a copy of the whole manifest in an annotation."""
    metadata = {
        "uid": "u",
        "namespace": "n",
        "name": "p",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "vision"},
    }
    assert parse_pod({"metadata": metadata}).annotations == {"team": "vision"}


def asks(number: int, **more: str) -> dict[str, Any]:
    return {"resources": {"requests": {"nvidia.com/gpu": str(number), "cpu": "500m"}}, **more}


@pytest.mark.parametrize(
    ("init", "main", "needed"),
    [
        ([], [1, 2], 3),
        ([asks(2)], [1], 2),
        ([asks(1, restartPolicy="Always"), asks(1)], [1], 2),
        ([asks(1, restartPolicy="Always"), asks(3)], [1], 4),
    ],
)
def test_a_pod_needs_what_the_scheduler_reckons(init: list[dict[str, Any]], main: list[int], needed: int) -> None:
    """Ordinary init containers run alone, before the others; sidecars stay."""
    raw = {
        "metadata": {"uid": "u", "namespace": "n", "name": "p"},
        "spec": {"initContainers": init, "containers": [asks(number) for number in main]},
    }
    assert parse_pod(raw).gpu_requests == (("nvidia.com/gpu", needed),)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        (None, None),
        ("", None),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("2026-11-20T19:07:24.957892852Z", 1795201644_957892),
        ("1970-01-01T01:00:00.000001+01:00", 1),
    ],
)
def test_times_are_microseconds_since_the_epoch(text: str | None, us: int | None) -> None:
    assert parse_time(text) == us


# Who is who


def test_a_static_pod_is_found_by_its_config_hash() -> None:
    """Its cgroup carries the hash of the manifest; the API's UID is another one."""
    table = PodTable()
    pods = recorded("cgroup/v1-cgroupfs/pods.json").values()
    table.replace(pods, 0)
    static = [pod for pod in pods if "kubernetes.io/config.hash" in pod.annotations]
    assert len(static) == 2
    for pod in static:
        config_hash = pod.annotations["kubernetes.io/config.hash"]
        assert config_hash != pod.uid
        assert table.of_uid(config_hash) is table.of_uid(pod.uid) is pod
        assert config_hash in table.known()


def test_a_container_id_names_its_pod_and_container() -> None:
    table = PodTable()
    table.replace(recorded("api/pods.list.full.after.json").values(), 0)
    found = table.of_container(CONTAINER_ID)
    assert found is not None
    assert (found[0].name, found[1]) == ("chat-llm-5fb6f697c8-5vp2h", "server")
    assert table.of_container("0" * 64) is None


def test_an_empty_table_knows_nobody() -> None:
    table = PodTable()
    assert table.of_uid("u") is table.of_name("ml", "train-0") is table.of_container("c") is None
    assert "u" not in table.known()


def test_a_deleted_pod_is_remembered_and_then_forgotten() -> None:
    """Late samples still refer to it; for ever it is not kept."""
    table = PodTable()
    table.put(made("u1", container_id="c1"), 0)
    table.delete(made("u1", container_id="c1"), 5)
    assert table.alive == ()
    assert table.of_uid("u1") == made("u1", container_id="c1")
    assert table.of_container("c1") is not None
    table.put(made("u2", "other"), 5 + KEEP_US - 1)
    assert "u1" in table.known()
    table.put(made("u2", "other"), 5 + KEEP_US)
    assert "u1" not in table.known()
    assert table.forgotten == 0


def test_a_pod_missing_from_a_new_list_was_deleted() -> None:
    table = PodTable()
    table.replace([made("u1", "a"), made("u2", "b")], 0)
    table.replace([made("u2", "b")], 1)
    assert [pod.uid for pod in table.alive] == ["u2"]
    assert table.of_uid("u1") is not None


def test_a_recreated_pod_has_the_name_and_the_old_one_keeps_its_uid() -> None:
    """A StatefulSet's pod comes back under the same name: the name means the one that is alive."""
    table = PodTable()
    table.put(made("u1"), 0)
    table.put(made("u2"), 1)
    table.delete(made("u1"), 2)
    found = table.of_name("ml", "train-0")
    assert found is not None
    assert found.uid == "u2"
    assert table.of_uid("u1") == made("u1")


def test_a_pod_that_comes_back_is_alive_again() -> None:
    """A list out of an older cache may show it once more."""
    table = PodTable()
    table.delete(made("u1"), 0)
    table.put(made("u1"), 1)
    table.delete(made("u1"), 2)
    table.delete(made("u1"), 3)
    assert table.of_uid("u1") == made("u1")
    assert table.alive == ()


def test_the_number_of_remembered_pods_is_bounded_and_the_rest_counted() -> None:
    table = PodTable(keep_pods=2)
    for number in range(5):
        table.delete(made(f"u{number}", f"p{number}"), number)
    assert [f"u{number}" in table.known() for number in range(5)] == [False, False, False, True, True]
    assert table.forgotten == 3


CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "replace"]), st.sets(st.sampled_from("abcd"), min_size=1))
)


@given(changes=CHANGES)
def test_the_living_are_what_was_last_said_and_nobody_recent_is_forgotten(changes: list[tuple[str, set[str]]]) -> None:
    """Alive = the model's set; every pod ever seen stays known while its time is not over."""
    table = PodTable()
    alive: set[str] = set()
    seen: set[str] = set()
    for now_us, (change, uids) in enumerate(changes):
        seen |= uids
        if change == "replace":
            table.replace([made(uid, uid) for uid in uids], now_us)
            alive = set(uids)
        for uid in uids if change != "replace" else ():
            getattr(table, change)(made(uid, uid), now_us)
            alive = alive | {uid} if change == "put" else alive - {uid}
    assert {pod.uid for pod in table.alive} == alive
    assert all(uid in table.known() and table.of_name("ml", uid) == made(uid, uid) for uid in seen)
