"""Time by queue: the name that a pod gave, and the queue with the quota, for which the API's word goes first."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.queues import claim, cluster_queue, know, local_queue
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, all_received, device, histories, pod, reserved, window

from gputally.accounting.line import Window
from gputally.collector.allocation.allocation import Allocation, allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.ingest.commit import Committer

UTC = ZoneInfo("UTC")
DAY = Period(START_US, START_US + 24 * 60 * MINUTE_US)
KUEUE, VOLCANO = "label kueue.x-k8s.io/queue-name", "label volcano.sh/queue-name"


def book(engine: Engine, *windows: Window) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=DAY.end_us)


def ask(engine: Engine, *by: By, **rest: object) -> Allocation:
    return allocate(engine, UTC, Query(DAY, UTC, by, **rest))  # type: ignore[arg-type]


def minutes_of(found: Allocation) -> dict[tuple[str, ...], float]:
    return {row.keys: row.amounts.capacity_us / MINUTE_US for row in found.rows}


@pytest.fixture
def queued(engine: Engine) -> Engine:
    """A minute of four pods: by Kueue with and without a LocalQueue of that name, by Volcano, and by nobody."""
    names = ("led", "said", "volcano", "free")
    book(engine, window(*(device(reserved(pod(name=name), MINUTE_US, 0), uuid=name) for name in names)))
    for name in names:
        learn(engine, name, f"job/{name}")
    claim(engine, "led", "lq", KUEUE, cluster_queue="imitated", user="ann")
    claim(engine, "said", "elsewhere", KUEUE, cluster_queue="gold", project="llm")
    claim(engine, "volcano", "batch", VOLCANO)
    know(engine, cluster_queue(), local_queue("lq", "gpus"), local_queue("batch", "wrong"))
    return engine


def test_a_queue_is_one_of_its_namespace_and_nothing_is_lost_of_pods_without(queued: Engine) -> None:
    assert minutes_of(ask(queued, By.QUEUE)) == {
        ("search", "lq"): 1,
        ("search", "elsewhere"): 1,
        ("search", "batch"): 1,
        ("search", ""): 1,
    }


def test_what_a_local_queue_leads_into_goes_before_what_a_pod_says(queued: Engine) -> None:
    """And Volcano's queue is not taken for a LocalQueue of that name."""
    assert minutes_of(ask(queued, By.CLUSTER_QUEUE)) == {("gpus",): 1, ("gold",): 1, ("batch",): 1, ("",): 1}
    assert minutes_of(ask(queued, By.PROJECT, By.SUBMITTER)) == {("llm", ""): 1, ("", "ann"): 1, ("", ""): 2}


def test_a_local_queue_counts_for_the_pods_that_started_while_it_was_there(engine: Engine) -> None:
    book(engine, window(device(reserved(pod(name="led"), MINUTE_US, 0))))
    learn(engine, "led", "job/led")
    claim(engine, "led", "lq", KUEUE)
    know(engine, local_queue("lq", "young", created="2026-07-01T00:01:00Z"))
    assert minutes_of(ask(engine, By.CLUSTER_QUEUE)) == {("",): 1}


FILTERS = {
    'cluster_queue:"gpus","batch"': {"led", "volcano"},
    'queue!:"lq"+submitter:""': {"said", "volcano", "free"},
    'project:"llm"': {"said"},
    'cluster_queue<~:"g"+queue:"lq"': {"led"},
}


def test_time_is_filtered_by_queue_whatever_it_is_grouped_by(queued: Engine) -> None:
    for text, wanted in FILTERS.items():
        where = parse_filter(text)
        assert {row.keys[1] for row in ask(queued, By.POD, where=where).rows} == wanted, text
        found = ask(queued, By.CLUSTER_QUEUE, where=where, spread=Spread.PROPORTIONAL)
        assert found.amounts.capacity_us == len(wanted) * MINUTE_US


claims = st.dictionaries(
    st.sampled_from(["train-0", "serve-1"]),
    st.tuples(st.sampled_from(["lq", "batch"]), st.sampled_from([KUEUE, VOLCANO])),
)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(), said=claims, by=st.lists(st.sampled_from([By.QUEUE, By.CLUSTER_QUEUE]), min_size=1))
def test_by_queue_the_total_is_the_ledgers_whatever_is_known(
    engine: Engine, history: list[Window], said: dict[str, tuple[str, str]], by: list[By]
) -> None:
    """I6, and two LocalQueues of one name are two times, never twice the time."""
    empty(engine)
    book(engine, *history)
    for name, (queue, source) in said.items():
        learn(engine, name, f"job/{name}")
        claim(engine, name, queue, source)
    know(engine, local_queue("lq", "old", uid="1"), local_queue("lq", "new", uid="2"), now_us=2)
    assert ask(engine, *by).amounts == ask(engine).amounts
