"""What a part is in its newest window: the state it is mostly in, how busy, how much of a GPU."""

from fractions import Fraction

import pytest
from tests.collector.top.facts import NOON_US, standing

from gputally.accounting.states import OwnerKind, State
from gputally.collector.now.latest import FRESH_US, Standing


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (standing(idle=60), State.IDLE),
        (standing(used=1, idle=59), State.USED),
        (standing(used=0, idle=1, unobserved=59), State.IDLE),  # what was measured of it was idle
        (standing(unobserved=60), State.UNOBSERVED),
        (standing(kind=OwnerKind.PLATFORM, free=40, unobserved=20), State.UNALLOCATED),
        (standing(kind=OwnerKind.HOST), None),  # it runs in another's time
    ],
)
def test_it_is_what_was_measured_of_it_or_what_it_is_mostly(one: Standing, state: State | None) -> None:
    assert one.state is state


def test_less_than_one_percent_is_idle() -> None:
    assert standing(used=1, idle=120).state is State.IDLE
    assert standing(used=1, idle=99).state is State.USED


def test_busy_is_of_the_time_that_was_held_and_measured() -> None:
    assert standing(used=10, idle=10, unobserved=40).measured_us == 20_000_000
    assert standing(unobserved=60).measured_us == 0
    assert standing(kind=OwnerKind.HOST, used=20).measured_us == 60_000_000


def test_a_part_of_a_gpu_is_a_share_of_it() -> None:
    assert standing(used=10, idle=20).share == Fraction(1, 2)


def test_a_node_that_said_nothing_for_a_while_is_silent() -> None:
    assert not standing(idle=60).silent(NOON_US + FRESH_US)
    assert standing(idle=60).silent(NOON_US + FRESH_US + 1)
