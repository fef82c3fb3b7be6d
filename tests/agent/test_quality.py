"""Quality figures: GPM's averages as integrals, where all of them are known."""

from fractions import Fraction

from gputally.agent.attribution.quality import QualityTrack
from gputally.agent.sample import GpmReading

S = 1_000_000


def track(*readings: GpmReading) -> QualityTrack:
    quality = QualityTrack()
    for reading in readings:
        quality.observe(reading, 0)
    return quality


def test_averages_are_integrated_over_what_is_asked_for() -> None:
    quality = track(GpmReading(0, S, None, 500_000, 250_000, 0, 1), GpmReading(S, 3 * S, None, 0, 250_000, 1, 1))
    assert quality.between(0, 3 * S) == (3 * S, 500_000, 750_000, 2, 3)
    assert quality.between(S // 2, S) == (S // 2, 250_000, 125_000, 0, Fraction(1, 2))


def test_time_counts_as_measured_only_where_all_four_are_known() -> None:
    quality = track(GpmReading(0, S, None, 500_000, None, 0, 0), GpmReading(S, 2 * S, None, 1, 1, 1, 1))
    assert quality.between(0, S) is None
    assert (quality.between(0, 2 * S) or (0,))[0] == S


def test_no_time_counts_twice() -> None:
    quality = track(GpmReading(0, 2 * S, None, 0, 0, 0, 0), GpmReading(S, 3 * S, None, 0, 0, 0, 0))
    assert (quality.between(0, 9 * S) or (0,))[0] == 3 * S


def test_what_was_accounted_for_is_forgotten() -> None:
    quality = track(GpmReading(0, S, None, 0, 0, 0, 0))
    quality.forget(S)
    assert quality.between(0, S) is None
