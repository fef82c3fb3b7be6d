"""Exact splitting: parts that are fractions become integers whose sum is the whole."""

from collections.abc import Sequence
from fractions import Fraction


class ConservationError(ArithmeticError):
    """Parts that cannot be rounded to the whole: something was counted twice or not at all."""


def largest_remainder(total: int, parts: Sequence[Fraction]) -> list[int]:
    """Round `parts` to integers that sum to `total`, giving the missing units to the largest remainders.

    Equal remainders go to the earlier part, so the caller's order decides. Parts that are 0 stay 0. The parts must
    sum to the total within one unit (an energy counter is rounded at the window's edges, time is exact).
    """
    floors = [int(part) for part in parts]
    missing = total - sum(floors)
    takers = sorted((i for i, part in enumerate(parts) if part > 0), key=lambda i: floors[i] - parts[i])
    if any(part < 0 for part in parts) or abs(total - sum(parts, Fraction(0))) >= 1 or missing > len(takers):
        raise ConservationError(f"parts sum to {float(sum(parts))}, the whole is {total}")
    for i in takers[:missing]:
        floors[i] += 1
    return floors
