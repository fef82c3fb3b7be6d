"""A pod that used one of its eight GPUs: which parts count as never used, and when nothing is said."""

from dataclasses import replace

import pytest

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.advice.advice import Unused
from gputally.collector.advice.unused import Part, unused

DAY_US = 24 * HOUR_US
USED = Part("GPU-0", "gpu", 0, DAY_US, used=True)
IDLE = Part("GPU-1", "gpu", HOUR_US, DAY_US, used=False)


def test_seven_of_eight_are_counted_from_when_they_were_first_held() -> None:
    parts = [USED, *(replace(IDLE, uuid=f"GPU-{at}") for at in range(1, 8))]
    assert unused(parts) == Unused(used=1, never=7, parts=8, whole=True, since_us=HOUR_US, until_us=DAY_US)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [USED],
        [USED, replace(USED, uuid="GPU-1")],
        [IDLE, replace(IDLE, uuid="GPU-2")],  # nothing used yet: it may still be waiting to start
        [USED, replace(IDLE, held_until_us=2 * HOUR_US - 1)],  # too short to tell
    ],
)
def test_nothing_is_said(parts: list[Part]) -> None:
    assert unused(parts) is None


def test_what_was_held_for_an_hour_is_told_apart_from_what_was_not() -> None:
    short = replace(IDLE, uuid="GPU-2", held_until_us=HOUR_US + 60_000_000)
    mig = replace(IDLE, uuid="GPU-3", partition="MIG-1")
    assert unused([USED, short, mig]) == Unused(1, 1, 3, whole=False, since_us=HOUR_US, until_us=DAY_US)
