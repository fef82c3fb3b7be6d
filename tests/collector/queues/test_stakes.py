"""Whose quota GPUs are kept for: by LocalQueues; by what pods say only where that is asked for."""

from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.queues import claim, cluster_queue, know, local_queue, volcano_queue
from tests.watched_pods import learn
from tests.windows import MINUTE_US, START_US, all_received, device, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.allocation import allocate
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query, Spread
from gputally.collector.allocation.spread import Stake
from gputally.collector.allocation.steps import Step
from gputally.collector.database.engine import reading
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import catch_up
from gputally.collector.queues.stakes import read_stakes

UTC = ZoneInfo("UTC")
DAY = Period(START_US, START_US + 24 * HOUR_US)
EAST = (0, "east")
VOLCANO = "label volcano.sh/queue-name"
VOLCANOS = {"search": "searchers", "vision": "viewers"}


@pytest.fixture
def spaces(engine: Engine) -> Engine:
    """An hour's first minute: search and vision held a GPU each, a third was free; Volcano's words on the pods."""
    pods = [pod(space, f"of-{space}") for space in VOLCANOS]
    held = (device(reserved(owner, MINUTE_US, 0), uuid=owner.namespace) for owner in pods)
    windows = [window(*held, device(unallocated(MINUTE_US), uuid="free"))]
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=DAY.end_us)
    catch_up(engine, UTC)
    for owner in pods:
        learn(engine, owner.pod, f"job/{owner.pod}", namespace=owner.namespace)
        claim(engine, owner.pod, VOLCANOS[owner.namespace], VOLCANO)
    return engine


def stakes(engine: Engine, how: Spread, steps: tuple[Period, ...] = (DAY,)) -> dict[tuple[int, str], list[Stake]]:
    with reading(engine) as connection:
        return {key: list(found) for key, found in read_stakes(connection, steps, how).items()}


def given(engine: Engine, how: Spread) -> dict[str, int]:
    found = allocate(engine, UTC, Query(DAY, UTC, (By.NAMESPACE,), spread=how))
    assert sum(row.shared_us for row in found.rows) == 0
    return {row.keys[0]: row.shared_us for row in found.rows if row.keys[0]}


def test_namespaces_have_a_stake_in_the_queues_that_they_lead_into(spaces: Engine) -> None:
    know(spaces, cluster_queue("gpus", "9"), cluster_queue("rest", "1"), cluster_queue("nobodys", "5"))
    know(
        spaces,
        local_queue("a", "gpus", "search"),
        local_queue("b", "gpus", "vision"),
        local_queue("c", "rest", "vision"),
    )
    assert stakes(spaces, Spread.QUOTA) == {
        EAST: [Stake(9 * HOUR_US, frozenset({"search", "vision"})), Stake(HOUR_US, frozenset({"vision"}))]
    }
    assert stakes(spaces, Spread.EVEN) == {}


def test_the_platforms_time_is_spread_by_quota(spaces: Engine) -> None:
    know(spaces, cluster_queue("gpus", "3"), cluster_queue("rest", "1"))
    know(spaces, local_queue("a", "gpus", "search"), local_queue("b", "rest", "vision"))
    assert given(spaces, Spread.QUOTA) == {"search": 3 * MINUTE_US // 4, "vision": MINUTE_US // 4}
    assert given(spaces, Spread.PROPORTIONAL) == {"search": MINUTE_US // 2, "vision": MINUTE_US // 2}


def test_a_label_moves_no_cost_unless_whoever_asks_believes_it(spaces: Engine) -> None:
    know(spaces, volcano_queue("searchers", deserved="1"), volcano_queue("viewers", deserved="3"))
    assert given(spaces, Spread.QUOTA) == {"search": 0, "vision": 0}
    assert given(spaces, Spread.CLAIMED_QUOTA) == {"search": MINUTE_US // 4, "vision": 3 * MINUTE_US // 4}


def test_a_quota_weighs_as_far_as_the_ledger_has_come_step_by_step(spaces: Engine) -> None:
    know(spaces, cluster_queue("gpus", "2"), local_queue("a", "gpus", "search"))
    hours = tuple(Period(START_US + at * HOUR_US, START_US + (at + 1) * HOUR_US) for at in range(3))
    assert stakes(spaces, Spread.QUOTA, hours) == {EAST: [Stake(2 * HOUR_US, frozenset({"search"}))]}
    assert stakes(spaces, Spread.QUOTA, ()) == {}
    found = allocate(spaces, UTC, Query(DAY, UTC, (By.NAMESPACE,), Step.HOUR, spread=Spread.QUOTA))
    assert sum(row.shared_us for row in found.rows) == 0
