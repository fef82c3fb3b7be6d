"""Lives of pods: each once, whole, and none that was over before."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.simulated.pattern import DAY_US, WEEK_US, constant
from gputally.agent.simulated.scenario import Pod
from gputally.agent.simulated.schedule import hours
from gputally.demo.lives import lives

MONDAY_US = 1_793_577_600_000_000  # 2026-11-02T00:00:00Z
HOUR_US = DAY_US // 24
NIGHTS = Pod("research", "eval", (), hours(["sun-thu 22:00-06:00"]))


def test_a_pod_that_comes_back_has_a_life_each_time() -> None:
    found = list(lives(NIGHTS, "n", MONDAY_US, MONDAY_US + 2 * DAY_US + HOUR_US))
    nights = [(-2, 6), (22, 30), (46, 54)]  # in hours; the first one began on Sunday
    assert [(life.run.start_us, life.end_us) for life in found] == [
        (MONDAY_US + start * HOUR_US, MONDAY_US + end * HOUR_US) for start, end in nights
    ]
    assert found[0].start_us == MONDAY_US, "nothing is older than the cluster"
    assert [life.ended_us(MONDAY_US + DAY_US) for life in found] == [MONDAY_US + 6 * HOUR_US, None, None]


def test_a_pod_that_is_always_there_has_one_life_without_an_end() -> None:
    (life,) = lives(Pod("a", "b", (), constant(1)), "n", MONDAY_US, MONDAY_US + 9 * WEEK_US)
    assert (life.start_us, life.end_us, life.run.name) == (MONDAY_US, None, "b")


def test_bounds_of_a_pod_are_the_bounds_of_its_life() -> None:
    pod = Pod("a", "b", (), constant(1, MONDAY_US + 5, MONDAY_US + 9))
    assert list(lives(pod, "n", MONDAY_US, MONDAY_US + 4)) == []
    (life,) = lives(pod, "n", MONDAY_US, MONDAY_US + 7)
    assert (life.start_us, life.end_us) == (MONDAY_US + 5, MONDAY_US + 9)


@given(st.integers(0, 2 * WEEK_US), st.integers(0, 2 * WEEK_US))
def test_lives_are_the_times_at_which_the_pod_is_there(after_us: int, at_us: int) -> None:
    """Whenever somebody begins to look, an instant is in one life if the pod is there, else in none."""
    since_us, us = MONDAY_US + after_us, MONDAY_US + after_us + at_us
    found = list(lives(NIGHTS, "n", since_us, us))
    now = [life.run for life in found if life.end_us is not None and life.start_us <= us < life.end_us]
    assert now == [run for run in [NIGHTS.run(us)] if run]
    assert len({life.run.uid for life in found}) == len(found)
