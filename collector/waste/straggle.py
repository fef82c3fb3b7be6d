"""Straggling: how far the ranks of a gang stay behind the one that used the largest share of its time. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

_SCALE = 1_000_000  # shares are told in millionths, so that all fits 64 bits and is the same wherever it is counted


class RankHour(NamedTuple):
    """What one rank had in an hour: used, and measured, which is used + idle; microseconds."""

    used_us: int
    measured_us: int

    @property
    def share(self) -> int:
        """The part of its measured time that it used, in millionths, rounded down."""
        return self.used_us * _SCALE // self.measured_us if self.measured_us else 0


def straggling(ranks: Sequence[RankHour]) -> list[int]:
    """How much longer each rank of an hour would have computed with the share of the best one: a part of its idle."""
    best = max((rank.share for rank in ranks), default=0)
    return [min((best - rank.share) * rank.measured_us // _SCALE, rank.measured_us - rank.used_us) for rank in ranks]
