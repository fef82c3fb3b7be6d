"""The timeline: durations by the monotonic clock, whatever the wall clock does."""

from gputally.agent.clock import Instant, Timeline

S = 1_000_000
WALL = 1_700_000_000 * S


def test_the_first_reading_is_the_anchor() -> None:
    assert Timeline().at(5 * S, WALL) == Instant(WALL, 0)


def test_a_slewed_wall_clock_does_not_change_durations() -> None:
    timeline = Timeline()
    timeline.at(0, WALL)
    assert timeline.at(S, WALL + S + 40_000) == Instant(WALL + S, -40_000)


def test_a_step_takes_a_new_anchor_and_says_how_far_it_went() -> None:
    timeline = Timeline()
    timeline.at(0, WALL)
    assert timeline.at(S, WALL + 61 * S) == Instant(WALL + 61 * S, 0, 60 * S)
    assert timeline.at(2 * S, WALL + 62 * S) == Instant(WALL + 62 * S, 0)


def test_a_step_back_is_a_step_too() -> None:
    timeline = Timeline()
    timeline.at(0, WALL)
    assert timeline.at(S, WALL - 9 * S).step_us == -10 * S
