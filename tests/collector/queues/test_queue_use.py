"""What queues had and used: every hour of a pod is in one queue, and quota + borrowed = reserved + unused."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.queues import claim, cluster_queue, know, local_queue, volcano_queue
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, all_received, device, histories, pod, reserved, unallocated, window

from gputally.accounting.keys import LineKey
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Basis, Source
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.filter import parse_filter
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import WHOLE, Query, QueryError, Scope
from gputally.collector.database.engine import reading
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues import use as module
from gputally.collector.queues.quota_time import QueueKey
from gputally.collector.queues.use import NOBODY, QueueUse, read_use

UTC = ZoneInfo("UTC")
KUEUE, VOLCANO = "label kueue.x-k8s.io/queue-name", "label volcano.sh/queue-name"
THREE_HOURS = Period(START_US, START_US + 3 * HOUR_US)
GPUS = QueueKey("east", "kueue", "gpus")


def book(engine: Engine, *windows: Window) -> None:
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=START_US + 24 * HOUR_US)
    catch_up(engine, UTC)


def use(engine: Engine, period: Period = THREE_HOURS, now_us: int = 2**60, scope: Scope = WHOLE) -> Sequence[QueueUse]:
    with reading(engine) as connection:
        return read_use(connection, UTC, period, now_us, scope)


def by_key(engine: Engine, **rest: object) -> dict[QueueKey, QueueUse]:
    return {one.key: one for one in use(engine, **rest)}  # type: ignore[arg-type]


def held(name: str, gpus: int = 1, hour: int = 0, minutes: int = 1, idle: bool = False) -> list[Window]:
    """Minutes in which a pod held GPUs."""
    times = (0, MINUTE_US) if idle else (MINUTE_US, 0)
    parts = [device(reserved(pod(name=name), *times), uuid=f"{name}-{at}") for at in range(gpus)]
    starts = (START_US + hour * HOUR_US + at * MINUTE_US for at in range(minutes))
    return [window(*parts, node=name, start_us=start_us) for start_us in starts]


def queued(engine: Engine, name: str, queue: str = "lq", source: str = KUEUE) -> None:
    learn(engine, name, f"job/{name}")
    claim(engine, name, queue, source)


def test_what_is_reserved_beyond_the_quota_is_borrowed_hour_by_hour(engine: Engine) -> None:
    """An hour in which a queue had less does not make up for one in which it had more."""
    book(engine, *held("many", gpus=2, minutes=60), *held("few", hour=1, minutes=30, idle=True))
    for name in ("many", "few"):
        queued(engine, name)
    know(engine, cluster_queue(nominal="1", cohort="all"), local_queue())
    (gpus,) = use(engine)
    assert (gpus.key, gpus.cohort) == (GPUS, "all")
    assert (gpus.used_us, gpus.idle_us, gpus.reserved_us) == (2 * HOUR_US, HOUR_US // 2, 5 * HOUR_US // 2)
    assert (gpus.quota_us, gpus.borrowed_us, gpus.unused_us) == (3 * HOUR_US, HOUR_US, 3 * HOUR_US // 2)


def test_a_quota_counts_while_it_holds_and_until_now(engine: Engine) -> None:
    changed_us = START_US + HOUR_US // 2
    know(engine, cluster_queue(nominal="2", version=1))
    know(engine, cluster_queue(nominal="6", version=2), now_us=changed_us)
    (gpus,) = use(engine, now_us=START_US + HOUR_US)
    assert (gpus.quota_us, gpus.unused_us, gpus.reserved_us) == (4 * HOUR_US, 4 * HOUR_US, 0)
    assert [held.quota.nominal for held in gpus.quotas] == [6]
    assert use(engine, period=Period(START_US - HOUR_US, START_US)) == ()


def test_pods_of_no_queue_have_a_row_and_queues_without_a_known_quota_have_none(engine: Engine) -> None:
    """Unknown is not 0: where nobody may read quotas, nothing is told to be borrowed."""
    book(engine, *held("free"), *held("said"), *held("kai"))
    queued(engine, "said", "elsewhere")
    queued(engine, "kai", "research", "label kai.scheduler/queue")
    found = by_key(engine)
    assert set(found) == {QueueKey("east", "", ""), QueueKey("east", "", "research")}
    assert found[QueueKey("east", *NOBODY[1:])].reserved_us == 2 * MINUTE_US
    assert {(one.quota_us, one.borrowed_us, one.unused_us) for one in found.values()} == {(None, None, None)}


def test_what_only_a_pod_says_is_told_apart(engine: Engine) -> None:
    book(engine, *held("led"), *held("vol"))
    queued(engine, "led")
    queued(engine, "vol", "batch", VOLCANO)
    know(engine, cluster_queue(), local_queue(), volcano_queue(capability="4"))
    found = by_key(engine)
    assert (found[GPUS].claimed_us, found[QueueKey("east", "volcano", "batch")].claimed_us) == (0, MINUTE_US)
    assert found[QueueKey("east", "volcano", "batch")].quota_us is None, "a limit is no quota"


def test_parts_of_gpus_are_reserved_and_not_compared_with_quota_of_whole_ones(engine: Engine) -> None:
    slice_key = LineKey("MIG-1", pod(name="part"), Basis.RESERVATION)
    part = Line(slice_key, Source.GPM, MINUTE_US // 7, 0)
    book(engine, window(device(part, unallocated(MINUTE_US - MINUTE_US // 7))))
    queued(engine, "part")
    know(engine, cluster_queue(nominal="0"), local_queue())
    (gpus,) = use(engine)
    assert (gpus.reserved_us, gpus.whole_us, gpus.borrowed_us, gpus.unused_us) == (MINUTE_US // 7, 0, 0, 0)


def test_a_reader_sees_its_own_time_and_not_what_others_had_of_the_quota(engine: Engine) -> None:
    book(engine, *held("led"))
    queued(engine, "led")
    know(engine, cluster_queue(), cluster_queue("secret"), local_queue())
    (own,) = use(engine, scope=Scope(frozenset({"search"})))
    assert (own.key, own.reserved_us, own.quota_us, own.quotas) == (GPUS, MINUTE_US, None, ())
    assert use(engine, scope=Scope(frozenset({"vision"}))) == ()
    assert use(engine, scope=Scope(None, frozenset({"west"}))) == ()


def test_too_many_hours_and_queues_are_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours are only read of queues that have a quota."""
    monkeypatch.setattr(module, "MAX_CELLS", 2)
    book(engine, *held("a"), *held("b", hour=1))
    queued(engine, "a")
    queued(engine, "b")
    assert len(use(engine)) == 1
    know(engine, cluster_queue(), local_queue())
    with pytest.raises(QueryError, match="shorter window"):
        use(engine)


def test_what_is_borrowed_in_two_periods_is_borrowed_in_both_together(engine: Engine) -> None:
    """Whether a day is read from its sum or not, and where a period has both, with a pod that is in both parts."""
    june, midnight_us = "2026-06-01T00:00:00Z", START_US
    book(engine, *held("many", gpus=2, hour=-2, minutes=120), *held("many", gpus=2, minutes=150))
    queued(engine, "many")
    know(engine, cluster_queue(nominal="1", created=june), local_queue(created=june))
    edges = (midnight_us - HOUR_US, midnight_us, midnight_us + 24 * HOUR_US)
    [before], [after], [both] = (use(engine, period=Period(edges[a], edges[b])) for a, b in ((0, 1), (1, 2), (0, 2)))
    assert (before.borrowed_us, after.borrowed_us, both.borrowed_us) == (HOUR_US, 2 * HOUR_US, 3 * HOUR_US)
    assert both.reserved_us == before.reserved_us + after.reserved_us


quotas = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4 * 60)), max_size=3)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    history=histories(),
    said=st.dictionaries(st.sampled_from(["train-0", "serve-1"]), st.sampled_from(["lq", "other"])),
    given_quotas=quotas,
)
def test_queues_have_all_of_the_time_that_pods_reserved(
    engine: Engine, history: list[Window], said: dict[str, str], given_quotas: list[tuple[int, int]]
) -> None:
    """And what they had with what they borrowed is what they reserved and what lay unused, whatever the quotas were."""
    empty(engine)
    book(engine, *history)
    for name, queue in said.items():
        queued(engine, name, queue)
    know(engine, local_queue())
    for version, (nominal, minute) in enumerate(sorted(given_quotas, key=lambda each: each[1]), start=1):
        know(engine, cluster_queue(nominal=nominal, version=version), now_us=START_US + minute * MINUTE_US)
    period = Period(START_US, START_US + 24 * HOUR_US)
    found = use(engine, period=period)
    whole = allocate(engine, UTC, Query(period, UTC, (), where=parse_filter('kind:"pod"+basis:"reservation"')))
    assert sum(one.reserved_us for one in found) == whole.amounts.reserved_us
    for one in found:
        if one.quota_us is not None and one.borrowed_us is not None and one.unused_us is not None:
            assert one.quota_us + one.borrowed_us == one.whole_us + one.unused_us
            assert min(one.borrowed_us, one.unused_us, one.whole_us) >= 0
