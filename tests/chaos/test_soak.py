"""What is billed survives the day on which everything fails. `make soak MINUTES=60` breaks parts for longer."""

import pytest
from tests.chaos.faults import FAULTS, ROLLING
from tests.chaos.soak import report, soak

MINUTES = 0.3  # which is less than each fault takes once: so often do they come
ROLLING_MINUTES = 0.3
BETWEEN_S = (0.5, 2.0)  # closer than by hand: the shorter the pause, the more is still broken when the next one comes


@pytest.mark.timeout(600)
def test_the_ledger_is_the_truth_after_everything_was_broken() -> None:
    """Agents, probes, collectors, the database are killed; lines cut, disks filled, clocks set, spools sent twice."""
    outcome = soak(MINUTES, seed=1, say=print, between_s=BETWEEN_S)
    print(report(outcome))
    assert set(outcome.faults) == {fault.__name__ for fault in FAULTS}
    assert outcome.verdict.wrong == ()
    assert outcome.verdict.lost_us == 0


@pytest.mark.timeout(300)
def test_a_rolling_restart_of_agents_and_collectors_loses_nothing() -> None:
    """Two of each, restarted in turn under load: nothing is lost, nothing counted twice."""
    outcome = soak(ROLLING_MINUTES, seed=2, say=print, kinds=ROLLING, between_s=BETWEEN_S)
    assert outcome.faults.total() >= 4
    assert set(outcome.faults) == {fault.__name__ for fault in ROLLING}
    assert outcome.verdict.wrong == ()
    assert outcome.verdict.lost_us == 0
