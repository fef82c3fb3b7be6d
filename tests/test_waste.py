"""Kinds of waste of random small fleets: the ledger, hour by hour, says what window by window follows from the rules.

In whatever order windows arrive, and however often the ledger is settled between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert
from tests.waste_model import ENDED_AFTER_US, Shares, held_of, shares_of
from tests.watched_pods import failed, gpu_pod
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.keys import REPLICA, WHOLE_GPU, LineKey, Owner
from gputally.accounting.line import Line, Window
from gputally.accounting.states import Basis, Reason, Source, State
from gputally.collector.allocation.allocation import read_allocation
from gputally.collector.allocation.filter import Clause, Filter, Operator
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.cluster.pod import watched_pod
from gputally.collector.cluster.pod_row import row_of
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import read_waste
from gputally.collector.workloads.read_pod import Wanted
from gputally.collector.workloads.workload import Evidence, Workload

UTC = ZoneInfo("UTC")
DAY = Period(START_US, START_US + 1440 * MINUTE_US)
CLUSTERS = count()
MOST_MINUTES = 150
GIB = 1 << 30


@dataclass(frozen=True)
class Stretch:
    """What one partition of a pod did for some minutes."""

    minutes: int
    doing: str


@dataclass(frozen=True)
class Story:
    """A pod from a minute on: what each of its partitions did, and whether the API says that it has ended."""

    name: str
    first: int
    partitions: tuple[tuple[Stretch, ...], ...]
    known_end: bool


LENGTHS = st.sampled_from([1, 2, 3, 14, 16, 29, 30, 31, 45])
DOINGS = ("works", "works", "pauses", "pauses", "holds memory", "holds memory", "nobody knows", "hardly", "unobserved")
STRETCHES = st.lists(st.builds(Stretch, LENGTHS, st.sampled_from(DOINGS)), min_size=1, max_size=5).map(tuple)


@st.composite
def fleets(draw: st.DrawFn) -> list[Story]:
    """Pods one after another on two partitions, as on a node with one GPU and one that two pods share."""
    stories, at = [], draw(st.sampled_from([0, 17, 45]))
    for number in range(draw(st.integers(1, 3))):
        partitions = draw(st.lists(STRETCHES, min_size=1, max_size=2).map(tuple))
        stories.append(Story(f"pod-{number}", at, partitions, draw(st.booleans())))
        at += max(sum(stretch.minutes for stretch in one) for one in partitions) + draw(st.sampled_from([0, 5, 20]))
    return stories


def line_of(owner: Owner, doing: str, share_us: int) -> Line:
    """A minute of a partition that has so much time."""
    if doing == "unobserved":
        key = LineKey(WHOLE_GPU, owner, Basis.RESERVATION, Reason.NO_SAMPLE)
        return Line(key, Source.NONE, unobserved_us=share_us)
    used_us = {"works": share_us * 3 // 4, "hardly": share_us // 200}.get(doing, 0)
    line = reserved(owner, used_us, share_us - used_us)
    return replace(line, memory_byte_s={"nobody knows": None, "pauses": 0, "hardly": 0}.get(doing, 60 * GIB))


def windows_of(stories: Sequence[Story], cluster: str) -> Iterator[Window]:
    """Each minute of the node; one GPU is held as a whole, half of the other."""
    for minute in range(MOST_MINUTES):
        parts = []
        for number, share_us in enumerate((MINUTE_US, MINUTE_US // 2)):
            line = _line(stories, minute, number, share_us)
            lines = [line] if line else []
            rest = [unallocated(MINUTE_US - sum(one.capacity_us for one in lines))] if number or not lines else []
            parts.append(device(*lines, *rest, uuid=f"GPU-{number}-{cluster}"))
        yield window(*parts, cluster=cluster, node="n", start_us=START_US + minute * MINUTE_US)


def _line(stories: Sequence[Story], minute: int, number: int, share_us: int) -> Line | None:
    """What is held of a device in a minute; the second one is shared."""
    for story in stories:
        at = minute - story.first
        for stretch in story.partitions[number] if number < len(story.partitions) else ():
            if 0 <= at < stretch.minutes:
                line = line_of(pod(name=story.name), stretch.doing, share_us)
                return replace(line, key=replace(line.key, partition=REPLICA)) if number else line
            at -= stretch.minutes
    return None


def expected(stories: Sequence[Story], windows: Sequence[Window]) -> dict[str, Shares]:
    """By the rules: a pod has ended if the API says so, or if its node went on without it."""
    held = list(held_of(windows))
    newest_us = max(one.end_us for one in windows)
    last_us = {uid: max(row.end_us for row in held if row.pod == uid) for uid in {row.pod for row in held}}
    known = {pod(name=story.name).pod_uid for story in stories if story.known_end}
    found = shares_of(held, lambda uid: uid in known or newest_us > last_us[uid] + ENDED_AFTER_US)
    return {str(uid): shares for uid, shares in found.items() if sum(us for us, _ in shares.values())}


@settings(
    max_examples=8,
    phases=(Phase.reuse, Phase.generate),  # shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(fleets(), st.sets(st.integers(0, MOST_MINUTES - 2), max_size=4), st.integers(0, MOST_MINUTES), st.booleans())
def test_the_waste_of_any_fleet_is_what_the_rules_say_window_by_window(
    engine: Engine, stories: list[Story], lost: set[int], cut: int, backwards: bool
) -> None:
    """Minutes may be missing, and the later part of the windows may arrive and be settled first. Each example is a
    cluster of its own in one ledger, where the pods of others have the same UIDs.
    """
    cluster = f"c{next(CLUSTERS)}"
    windows = [one for at, one in enumerate(windows_of(stories, cluster)) if not {at, at - 1, at - 2} & lost]
    parts = [windows[:cut], windows[cut:]]
    for part in reversed(parts) if backwards else parts:
        Committer(engine, UTC, None).commit(all_received(part), now_us=DAY.end_us)
        settle(engine, UTC)
    _tell_of_ends(engine, cluster, [story for story in stories if story.known_end])
    query = Query(DAY, UTC, (By.POD_UID,), where=Filter((Clause(By.CLUSTER, Operator.IS, (cluster,)),)))
    with reading(engine) as connection:
        found = read_waste(connection, UTC, query)
        idle = read_allocation(connection, UTC, replace(query, states=(State.IDLE,)))
    told = {row.keys[-1]: {kind: (one.us, one.provisional_us) for kind, one in row.kinds.items()} for row in found.rows}
    assert told == expected(stories, windows)
    by_pod = {row.keys[-1]: row.amounts.idle_us for row in idle.rows if row.amounts.idle_us}
    assert {uid: sum(us for us, _ in shares.values()) for uid, shares in told.items()} == by_pod, "the five are idle"
    assert sum(one.us for one in found.total.values()) == sum(by_pod.values())
    assert set(found.total) == set(Kind)


def _tell_of_ends(engine: Engine, cluster: str, stories: Sequence[Story]) -> None:
    for story in stories:
        found = watched_pod(gpu_pod(story.name, status=failed(code=0)), Wanted())
        assert found is not None
        work = Workload("search", "kubernetes", "Pod", story.name, None, Evidence.POD, "test")
        with writing(engine) as connection:
            row = row_of(cluster, found, work, complete=True, now_us=DAY.end_us)
            connection.execute(insert(pod_workload).values(row))
