"""How long the driver's calls take: every call is in one bucket, and told once."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.nvml.latency import Latency
from gputally.agent.sample import CALL_BOUNDS_US, CallTimes

NONE = (0,) * (len(CALL_BOUNDS_US) + 1)


@given(st.lists(st.integers(0, 10**11), min_size=1, max_size=20))
def test_every_call_is_counted_in_the_bucket_of_its_length(lengths_ns: list[int]) -> None:
    """As Prometheus has it: a bucket holds what is no longer than its bound."""
    clock = iter(lengths_ns)
    latency = Latency(lambda: next(clock))
    for _ in lengths_ns:
        latency.add("call", 0)
    (found,) = latency.take()
    counts = list(NONE)
    for length in lengths_ns:
        counts[bisect_left(CALL_BOUNDS_US, length / 1000)] += 1
    assert found == CallTimes("call", tuple(counts), sum(lengths_ns) // 1000)
    assert latency.take() == ()


def test_a_call_of_exactly_the_bound_is_within_it() -> None:
    latency = Latency(lambda: 100_000)
    latency.add("call", 0)
    assert latency.take()[0].counts[0] == 1
