"""One job is one row, and its drill-down adds up to it: read from a ledger, priced, filtered, scoped."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.collector.jobs.stories import held
from tests.databases import empty
from tests.watched_pods import failed, learn
from tests.windows import MINUTE_US, START_US, all_received, device, histories, pod, reserved, unallocated, window

from gputally.accounting.keys import Owner
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.amounts import Amounts, summed
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.money import total
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Scope
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.ingest.commit import Committer
from gputally.collector.jobs.attempts import attempts_of
from gputally.collector.jobs.drill import Drilled, of_workload, read_job
from gputally.collector.jobs.job import Job, read_jobs, read_some, read_uses
from gputally.collector.jobs.pod import Outcome
from gputally.collector.jobs.read_pods import told_apart
from gputally.collector.ledger.postings import settle

UTC = ZoneInfo("UTC")
DAY = Period(START_US, START_US + 24 * HOUR_US)
CARD = b"""\
version: 1
currency: EUR
prices:
  - {match: {model: NVIDIA H100 80GB HBM3}, valid_from: 2026-01-01, per_gpu_hour: 3.60}
"""
TEAMS = b"""\
version: 1
namespaces:
  - {namespace: search, team: engines, valid_from: 2026-01-01}
"""


def book(engine: Engine, *windows: Window) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=DAY.end_us)
    settle(engine, UTC)


def jobs(engine: Engine, where: str = "", **rest: object) -> Sequence[Job]:
    query = Query(DAY, UTC, where=parse_filter(where), **rest)  # type: ignore[arg-type]
    with reading(engine) as connection:
        return read_jobs(connection, UTC, query).jobs


def drilled(engine: Engine, label: str, namespace: str = "search") -> Sequence[Drilled]:
    with reading(engine) as connection:
        return read_job(connection, UTC, of_workload(Query(DAY, UTC), namespace, label))[0]


def worker(rank: int, attempt: int) -> Owner:
    return Owner(OwnerKind.POD, "search", f"bert-worker-{rank}", "main", pod_uid=f"uid-{rank}-{attempt}")


def hour(at: int, *owners: Owner, node: str = "node-a", used: int = 40) -> list[Window]:
    """An hour in which each of them held a GPU, and used so many seconds of each minute."""
    us = used * 1_000_000
    parts = tuple(
        device(reserved(owner, us, MINUTE_US - us) if owner else unallocated(MINUTE_US), uuid=f"{node}-{at_}")
        for at_, owner in enumerate(owners)
    )
    return [window(*parts, node=node, start_us=START_US + at * HOUR_US + m * MINUTE_US) for m in range(60)]


@pytest.fixture
def gang(engine: Engine) -> Engine:
    """Two ranks on two nodes: an attempt that fails after an hour, one that goes on; a service beside them."""
    windows: list[Window] = []
    web = pod("vision", "web-5d8f-x")
    for rank, node in enumerate(("node-a", "node-b")):
        windows += hour(0, worker(rank, 0), web, node=node)
        for at in (1, 2):
            windows += hour(at, worker(rank, 1), web, node=node, used=30 if rank else 50)
    book(engine, *windows)
    for attempt, status in enumerate((failed(), None)):
        for rank in range(2):
            uid = f"uid-{rank}-{attempt}"
            learn(
                engine,
                f"bert-worker-{rank}",
                "PyTorchJob.kubeflow/bert",
                uid=uid,
                rank=rank,
                role="worker",
                status=status,
            )
    learn(engine, "web-5d8f-x", "Deployment/web", namespace="vision")
    apply_file(engine, Kind.RATES, CARD, "ann@laptop", START_US)
    apply_file(engine, Kind.TEAMS, TEAMS, "ann@laptop", START_US)
    return engine


def test_a_gang_of_two_attempts_is_one_row(gang: Engine) -> None:
    bert, web = jobs(gang)
    assert bert.name == ("east", "search", "pytorchjob.kubeflow/bert")
    assert bert.known is not None
    assert (bert.teams, bert.known.platform, bert.known.rules) == (("engines",), "kubeflow", ("test",))
    course = bert.course
    assert (course.ranks, course.nodes, course.pods, course.at_once, len(course.attempts)) == (2, 2, 4, 2, 2)
    assert (course.start_us, course.end_us, course.outcome) == (START_US, None, Outcome.RUNNING)
    assert (bert.amounts.capacity_us, bert.amounts.used_us) == (6 * HOUR_US, 4 * HOUR_US)
    assert bert.money.cost == 6 * HOUR_US * 3_600_000_000
    assert (web.course.ranks, web.course.attempts, web.course.pods) == (None, (), 1)


def test_its_attempts_pods_and_devices_add_up_to_it(gang: Engine) -> None:
    (one,) = drilled(gang, "pytorchjob.kubeflow/bert")
    assert one.job == jobs(gang)[0]
    assert [(use.attempt.outcome, use.amounts.capacity_us) for use in one.attempts] == [
        (Outcome.FAILED, 2 * HOUR_US),
        (Outcome.RUNNING, 4 * HOUR_US),
    ]
    for whole, parts in (
        (one.job, one.attempts),
        (one.job, one.pods),
        *((use, use.pods) for use in one.attempts),
        *((use, use.devices) for use in one.pods),
    ):
        assert summed(part.amounts for part in parts) == whole.amounts
        assert total(part.money for part in parts) == whole.money
    slow = next(use for use in one.pods if use.pod.uid == "uid-1-1")
    assert [(use.device.node, use.device.uuid) for use in slow.devices] == [("node-b", "node-b-0")]
    assert slow.amounts.efficiency == 0.5


def test_a_filter_and_what_may_be_seen_are_respected(gang: Engine) -> None:
    assert [job.name.label for job in jobs(gang, 'team:"engines"')] == ["pytorchjob.kubeflow/bert"]
    (part,) = jobs(gang, 'node:"node-b"+namespace:"search"')
    assert (part.course.nodes, part.course.ranks, part.amounts.capacity_us) == (1, 1, 3 * HOUR_US)
    assert [job.name.namespace for job in jobs(gang, scope=Scope(frozenset({"vision"})))] == ["vision"]
    assert jobs(gang, scope=Scope(frozenset({"vision"}), frozenset({"west"}))) == ()
    assert drilled(gang, "pytorchjob.kubeflow/bert", "vision") == []


def test_a_pod_that_its_nodes_windows_no_longer_name_has_ended(engine: Engine) -> None:
    """Nobody said how; until a quarter of an hour of windows without it, it may only be late."""
    gone, here = pod(name="a"), pod(name="b")
    book(
        engine, *hour(0, gone, here), *[window(device(reserved(here, 1, 0)), start_us=START_US + HOUR_US, length_us=1)]
    )
    assert {job.name.label: job.course.outcome for job in jobs(engine)} == {
        "pod/a": Outcome.RUNNING,
        "pod/b": Outcome.RUNNING,
    }
    book(engine, *hour(2, here)[:20])
    found = {job.name.label: job.course for job in jobs(engine)}
    assert (found["pod/a"].outcome, found["pod/a"].end_us) == (Outcome.ENDED, START_US + HOUR_US)
    assert found["pod/b"].outcome is Outcome.RUNNING


def test_what_was_made_again_under_its_name_has_runs_and_attempts_of_its_own() -> None:
    """A JobSet of yesterday and one of today count their attempts from 0; of a pod without a UID nothing is known."""
    pods = [held("a-0", day * 1440, day * 1440 + 60, rank=0, attempt=0) for day in range(2)]
    lone = held("b", 3000, 3060)
    made = {(pod.name, pod.uid): f"jobset-{at}" for at, pod in enumerate(pods)} | {(lone.name, lone.uid): None}
    told = list(told_apart([*pods, lone], made))
    assert [(one.run, one.number) for one in attempts_of(told[:2])] == [("1", 0), ("2", 0)]
    assert told[2] == lone
    same = dict.fromkeys(made, "jobset-0")
    assert list(told_apart([*pods, lone], same)) == [*pods, lone]


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(windows=histories(most=6), labels=st.lists(st.sampled_from(["Job/x", "Job.volcano/x", ""]), min_size=3))
def test_workloads_sum_to_what_pods_had_in_any_history(
    engine: Engine, windows: list[Window], labels: list[str]
) -> None:
    """I6: whatever is known of pods, by whatever UID; and each drill-down sums to its row."""
    empty(engine)
    book(engine, *windows)
    for (uid, cluster), label in zip((("uid-1", "east"), ("uid-2", "east"), ("uid-1", "west")), labels, strict=False):
        if label:
            learn(engine, "train-0", label, uid=uid, cluster=cluster, rank=0 if uid == "uid-1" else None)
    found = jobs(engine)
    whole = allocate(engine, UTC, Query(DAY, UTC, where=parse_filter('kind:"pod"')))
    assert summed(job.amounts for job in found) == whole.amounts == summed([whole.amounts, Amounts()])
    for job in found:
        (one,) = [each for each in drilled(engine, job.name.label, job.name.namespace) if each.job.name == job.name]
        assert one.job == job
        assert summed(use.amounts for use in one.pods) == job.amounts


def test_some_workloads_are_told_as_among_all(gang: Engine) -> None:
    """Without those that are not asked for, in the order that they are asked in."""
    query = Query(DAY, UTC)
    with reading(gang) as connection:
        every = read_jobs(connection, UTC, query).jobs
        uses, found = read_uses(connection, UTC, query)
        assert read_some(connection, UTC, query, uses) == every
        assert read_some(connection, UTC, query, uses[::-1][:1]) == every[-1:]
        assert read_some(connection, UTC, query, []) == ()
    assert [(one.name, one.amounts, one.money) for one in uses] == [(one.name, one.amounts, one.money) for one in every]
    assert summed(one.amounts for one in uses) == found.amounts
