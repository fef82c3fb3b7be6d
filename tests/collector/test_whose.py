"""Whose work time was: by what was learnt of a pod, within its namespace, and the pod itself where nothing was."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, all_received, device, histories, pod, reserved, unallocated, window

from gputally.accounting.keys import WHOLE_GPU, LineKey, Owner
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Basis, OwnerKind, Source
from gputally.collector.allocation.allocation import Allocation, allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Scope, Spread
from gputally.collector.ingest.commit import Committer

UTC = ZoneInfo("UTC")
DAY = Period(START_US, START_US + 24 * 60 * MINUTE_US)


def book(engine: Engine, *windows: Window) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=START_US + 24 * 60 * MINUTE_US)


def ask(engine: Engine, *by: By, **rest: object) -> Allocation:
    return allocate(engine, UTC, Query(DAY, UTC, by, **rest))  # type: ignore[arg-type]


def minutes_of(found: Allocation) -> dict[tuple[str, ...], float]:
    return {row.keys: row.amounts.capacity_us / MINUTE_US for row in found.rows}


def held(*owners: Owner, cluster: str = "east", node: str = "node-a") -> Window:
    """A minute in which each of them held a GPU of its own."""
    parts = (device(reserved(owner, MINUTE_US, 0), uuid=f"{node}-{at}") for at, owner in enumerate(owners))
    return window(*parts, cluster=cluster, node=node)


def test_one_job_of_many_pods_is_one_row(engine: Engine) -> None:
    book(engine, held(pod(name="bert-0"), pod(name="bert-1")), held(pod(name="bert-2"), node="node-b"))
    for rank in range(3):
        learn(engine, f"bert-{rank}", "PyTorchJob.kubeflow/bert")
    assert minutes_of(ask(engine, By.WORKLOAD)) == {("search", "pytorchjob.kubeflow/bert"): 3}
    assert minutes_of(ask(engine, By.WORKLOAD, By.NODE, By.POD)) == {
        ("search", "pytorchjob.kubeflow/bert", "node-a", "bert-0"): 1,
        ("search", "pytorchjob.kubeflow/bert", "node-a", "bert-1"): 1,
        ("search", "pytorchjob.kubeflow/bert", "node-b", "bert-2"): 1,
    }


def test_nothing_is_lost_of_pods_that_nothing_is_known_of_and_of_what_is_no_pods(engine: Engine) -> None:
    host = LineKey(WHOLE_GPU, Owner(OwnerKind.HOST, user="ann"), Basis.PROCESS)
    of_host = device(Line(host, Source.PROCESS_SAMPLES, MINUTE_US), uuid="GPU-h")
    free = device(unallocated(MINUTE_US), uuid="GPU-f")
    early = Owner(OwnerKind.POD, "search", "early", "main", first_seen_us=7)  # its agent did not know the UID
    parts = [device(reserved(owner, MINUTE_US, 0), uuid=owner.pod) for owner in (pod(name="a"), pod(name="b"), early)]
    book(engine, window(of_host, free, *parts))
    learn(engine, "a", "Deployment/web")
    learn(engine, "early", "Deployment/web")
    found = ask(engine, By.WORKLOAD)
    assert minutes_of(found) | {("", ""): 2} == {
        ("search", "deployment/web"): 1,
        ("search", "pod/b"): 1,
        ("search", "pod/early"): 1,
        ("", ""): 2,
    }
    assert sorted(row.owner for row in found.rows if row.keys == ("", "")) == ["host", "platform"]


def test_nobodys_work_is_mixed_with_that_of_another_namespace_cluster_platform_or_pod(engine: Engine) -> None:
    same = [pod(namespace, "train-0") for namespace in ("search", "vision")]
    other = Owner(OwnerKind.POD, "search", "train-0", "main", pod_uid="its-follower")
    book(engine, held(*same, other), held(pod(name="train-0"), cluster="west"))
    learn(engine, "train-0", "Job/x")
    learn(engine, "train-0", "Job.volcano/x", uid="its-follower")
    learn(engine, "train-0", "Job/y", cluster="west")
    assert minutes_of(ask(engine, By.CLUSTER, By.WORKLOAD)) == {
        ("east", "search", "job/x"): 1,
        ("east", "search", "job.volcano/x"): 1,
        ("east", "vision", "pod/train-0"): 1,  # whoever claims the UID: the namespace is another
        ("west", "search", "job/y"): 1,
    }


@pytest.mark.parametrize(
    ("text", "pods"),
    [
        ('workload:"job/x"', {"a"}),
        ('workload:"pod/b","job/x"', {"a", "b"}),
        ('workload<~:"job"', {"a", "c"}),
        ('workload!:"job/x"', {"b", "c", ""}),
        ('workload:""', {""}),
        ('workload<~:"job"+node!:"node-a"', {"c"}),
    ],
)
def test_time_is_filtered_by_workload_whatever_it_is_grouped_by(engine: Engine, text: str, pods: set[str]) -> None:
    free = device(unallocated(MINUTE_US), uuid="GPU-f")
    book(engine, held(pod(name="a"), pod(name="b")), held(pod(name="c"), node="node-b"), window(free, node="node-c"))
    learn(engine, "a", "Job/x")
    learn(engine, "c", "Job.volcano/x")
    for by in ((By.POD,), (By.POD, By.WORKLOAD)):
        found = ask(engine, *by, where=parse_filter(text))
        assert {dict(zip(found.query.keys, row.keys, strict=True))[By.POD] for row in found.rows} == pods
    assert ask(engine, where=parse_filter(text), spread=Spread.EVEN).amounts.capacity_us == len(pods) * MINUTE_US


def test_a_reader_sees_the_workloads_of_its_namespaces(engine: Engine) -> None:
    book(engine, held(pod(), pod("vision", "serve-0")))
    learn(engine, "train-0", "Job/x")
    learn(engine, "serve-0", "Job/y", namespace="vision")
    found = ask(engine, By.WORKLOAD, scope=Scope(frozenset({"vision"})))
    assert minutes_of(found) == {("vision", "job/y"): 1}


labels = st.sampled_from(["Job/x", "Job.volcano/x", "Pod/train-0"])
places = st.tuples(
    st.sampled_from(["east", "west"]), st.sampled_from(["uid-1", "uid-2"]), st.sampled_from(["search", "vision"])
)
groupings = st.lists(st.sampled_from(list(By)), max_size=3).map(tuple)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(windows=histories(most=6), known=st.dictionaries(places, labels, max_size=6), more=groupings)
def test_by_workload_the_total_is_the_ledgers_whatever_is_known(
    engine: Engine, windows: list[Window], known: dict[tuple[str, str, str], str], more: tuple[By, ...]
) -> None:
    """I6, with any pods known: of a UID that two pods claim, of other namespaces, of clusters without a window."""
    empty(engine)
    book(engine, *windows)
    of_pods = {place[:2]: (place, label) for place, label in known.items()}
    for (cluster, uid, namespace), label in of_pods.values():
        learn(engine, "train-0", label, namespace=namespace, uid=uid, cluster=cluster)
    one, other = ask(engine, By.WORKLOAD, *more), ask(engine, By.POD)
    assert (one.amounts, one.ground) == (other.amounts, other.ground)
    assert sum(row.amounts.capacity_us for row in one.rows) == one.amounts.capacity_us
    assert _by(one, By.NAMESPACE) == _by(other, By.NAMESPACE)


def _by(found: Allocation, key: By) -> dict[tuple[str, str], int]:
    at = found.query.keys.index(key)
    sums: dict[tuple[str, str], int] = {}
    for row in found.rows:
        of = (row.keys[at], row.owner)
        sums[of] = sums.get(of, 0) + row.amounts.capacity_us
    return {of: us for of, us in sums.items() if us}
