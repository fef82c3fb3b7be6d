"""How many GPUs are in each state now."""

from collections.abc import Iterable

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import State
from gputally.collector.now.latest import Standing


def by_state(standings: Iterable[Standing]) -> tuple[int, ...]:
    """On average over the newest windows, state by state: microseconds that an hour like them has, so that a GPU is
    an hour. Whether silent nodes are among the standings is the caller's choice.
    """
    times = [0] * len(State)
    for one in standings:
        length_us = one.end_us - one.start_us
        for at, us in enumerate(one.amounts.by_state):
            times[at] += us * HOUR_US // length_us if length_us else 0
    return tuple(times)
