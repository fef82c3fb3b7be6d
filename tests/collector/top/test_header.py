"""What stands above the rows: the fleet by state, what is idle and its price, coverage, and the data's age."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.top.facts import HOUR_US, NOON_US, facts, spell, standing

from gputally.accounting.states import OwnerKind
from gputally.collector.now.latest import FRESH_US, Standing
from gputally.collector.top.facts import Where
from gputally.collector.top.header import age, cells, header

IDLE = standing("idle", idle=60, uuid="GPU-1")
BUSY = standing("busy", used=45, idle=15, uuid="GPU-2")
FREE = standing(kind=OwnerKind.PLATFORM, free=30, unobserved=30, uuid="GPU-3")


def test_gpus_by_state_are_those_of_the_newest_minute() -> None:
    found = header(facts([IDLE, BUSY, FREE], [spell(IDLE, 3, 6)]), NOON_US)
    assert [text for _, text in found.by_state] == ["0.8", "1.2", "0.5", "0.0", "0.5"]
    assert sum(found.times) == 3 * HOUR_US


def test_what_is_idle_has_its_price_an_hour_and_so_far() -> None:
    found = header(facts([IDLE, BUSY, FREE], [spell(IDLE, 3, 6)]), NOON_US)
    assert found.figures == ("3.0 GPUs on 1 node", "coverage 83.3 %")
    assert found.idle == ("idle spells: 1 GPU", "at 2.00 EUR/h", "6.00 EUR so far")


def test_without_a_price_the_price_is_a_dash() -> None:
    found = header(facts([IDLE], [spell(IDLE, 3, None)], price=None), NOON_US)
    assert found.idle[1:] == ("at –/h", "– so far")


@pytest.mark.parametrize("standings", [[], [standing(idle=60, end_us=NOON_US - 2 * FRESH_US)]])
def test_where_nothing_is_known_there_is_no_figure(standings: list[Standing]) -> None:
    found = header(facts(standings), NOON_US)
    assert (found.figures, found.idle) == ((), ())
    assert {text for _, text in found.by_state} == {"–"}


def test_a_database_without_a_window_says_so() -> None:
    found = header(facts([]), NOON_US)
    assert found.title == ("all GPUs", "no window in the last 24 h")
    assert found.times == (0, 0, 0, 0, 0)


def test_nothing_idle_is_said() -> None:
    assert header(facts([BUSY]), NOON_US).idle == ("nothing idle",)


def test_what_cannot_be_measured_is_not_said_to_be_in_use() -> None:
    """A100 with MIG: the driver cannot tell."""
    unseen = standing("mig", unobserved=60, uuid="GPU-5")
    assert header(facts([BUSY, unseen, FREE]), NOON_US).idle == ("nothing idle", "1 held part not measured")
    assert header(facts([IDLE, unseen], [spell(IDLE, 3, 6)]), NOON_US).idle[-1] == "1 held part not measured"


def test_a_cost_that_lacks_what_was_before_the_look_is_at_least_so_much() -> None:
    assert header(facts([IDLE], [spell(IDLE, 168, 6, before=True)]), NOON_US).idle[-1] == "at least 6.00 EUR so far"


def test_a_sum_that_leaves_pods_out_says_so() -> None:
    other = standing("other", idle=60, uuid="GPU-4")
    found = facts([IDLE, other], [spell(IDLE, 3, 6), spell(other, 3, None)])
    pods = [found.pods[0], replace(found.pods[1], rate=None)]
    assert header(replace(found, pods=pods), NOON_US).idle[-1] == "1 of the idle pods unpriced"


def test_what_is_looked_at_and_how_old_it_is_stand_first_and_the_age_goes_on_between_two_readings() -> None:
    found = facts([IDLE], where=Where("vision", "gpu-1", "east"))
    assert header(found, NOON_US + 42_000_000).title == (
        "cluster east, node gpu-1, namespace vision",
        "data to 12:00:00 UTC, 42 s old",
    )
    assert header(found, NOON_US + 50_000_000).title[1].endswith(", 50 s old")


def test_a_silent_node_is_named_and_no_longer_counted() -> None:
    far = standing("far", idle=60, uuid="GPU-9", node="gpu-9", end_us=NOON_US - FRESH_US)
    found = header(facts([IDLE, far], [spell(IDLE, 1)]), NOON_US)
    assert found.warnings == ("east/gpu-9 is silent for 5 min", "what is there now is not known")
    assert sum(found.times) == HOUR_US


def test_many_silent_nodes_are_counted_and_the_quietest_named() -> None:
    far = [standing(uuid=f"GPU-{at}", node=f"n-{at}", end_us=NOON_US - FRESH_US - at * HOUR_US) for at in range(9)]
    warnings = header(facts(far), NOON_US).warnings
    assert warnings[0].startswith("east/n-8 is silent for 8 h")
    assert warnings[-2] == "6 more nodes are silent"


@pytest.mark.parametrize(("seconds", "said"), [(-3, "0 s"), (70, "70 s"), (119, "119 s"), (150, "2 min")])
def test_an_age_is_in_seconds_while_that_says_something(seconds: int, said: str) -> None:
    assert age(seconds * 1_000_000) == said


@given(st.lists(st.integers(0, 10**12), min_size=5, max_size=5), st.integers(5, 200))
def test_a_bar_is_full_and_shows_whatever_there_is(times: list[int], width: int) -> None:
    found = cells(times, width)
    assert sum(found) == (width if any(times) else 0)
    assert all((part > 0) == (us > 0) for part, us in zip(found, times, strict=True))
    exact = [us * width / (sum(times) or 1) for us in times]
    assert all(abs(part - share) < 5 for part, share in zip(found, exact, strict=True))
