"""The examples of docs/attribution.md that tell kinds of waste are what the real code computes."""

from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.idle_histories import BEGIN_US, GIB, SHARE_US, History, Minute, PodPart, node_windows
from tests.statements import LATER_US
from tests.test_docs_examples import section, tables
from tests.windows import all_received

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.ingest.commit import Committer
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import Wasted, waste
from gputally.collector.waste.straggle import RankHour, straggling

UTC = ZoneInfo("UTC")
MINUTES = 60_000_000
DIVIDED, KINDS, *_ = tables(section("## What kind of waste idle time is"))[1:]
RANKS = tables(section("### Failed attempts and stragglers"))[0]
GPUS = {
    "gpu-0": ("first GPU computes s a minute", "it holds GiB"),
    "gpu-1": ("second GPU computes s a minute", "that holds GiB"),
}


def history() -> History:
    """The example's minutes; each GPU is a half here, of a device of its own."""
    found: dict[PodPart, dict[int, Minute]] = {}
    for name, (computes, holds) in GPUS.items():
        minutes: list[Minute] = []
        for row in DIVIDED:
            used_us = int(row[computes]) * 500_000
            minutes += [Minute(used_us, SHARE_US - used_us, int(row[holds]) * GIB)] * int(row["minutes"])
        found[PodPart("main", name)] = dict(enumerate(minutes))
    return found


def kinds_of(engine: Engine) -> dict[str, dict[Kind, Wasted]]:
    query = Query(Period(BEGIN_US, BEGIN_US + 6 * HOUR_US), UTC, (By.DEVICE,))
    return {row.keys[0].removeprefix("GPU-node-a-"): dict(row.kinds) for row in waste(engine, UTC, query).rows}


@pytest.mark.parametrize("ended", [False, True])
def test_the_pod_with_two_gpus(engine: Engine, ended: bool) -> None:
    windows = node_windows(history(), goes_on=ended)
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=LATER_US)
    found = kinds_of(engine)
    for row in KINDS:
        first, second = (found[name][Kind(row["kind"])] for name in GPUS)
        assert [first.us, second.us] == [SHARE_US * int(list(row.values())[at]) for at in (1, 2)]
        provisional = 0 if ended else SHARE_US * int(row["provisional while it lives"])
        assert first.provisional_us + second.provisional_us == provisional


def test_the_ranks_of_a_gang() -> None:
    minutes = [(int(row["used minutes"]), int(row["idle minutes"])) for row in RANKS]
    hours = [RankHour(used * MINUTES, (used + idle) * MINUTES) for used, idle in minutes]
    assert [Fraction(us, MINUTES) for us in straggling(hours)] == [int(row["straggling minutes"]) for row in RANKS]
