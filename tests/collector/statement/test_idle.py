"""The dearest idle workloads are the same, however many pods come and in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.statement.idle import MOST, Group, Whose, Workload, dearest

FEW = st.integers(min_value=0, max_value=3)
TIMES = st.lists(st.tuples(FEW, FEW, FEW), max_size=200)


@given(TIMES)
def test_nobody_who_is_among_the_dearest_is_left_out_on_the_way(times: list[tuple[int, int, int]]) -> None:
    """Equals in cost are told apart by time, equals in both by name."""
    whose = Whose("east", "search", "uid", "engines", "4711")
    group = Group(whose)
    every = []
    for at, (cost, us, unpriced_us) in enumerate(times):
        pod = f"pod-{at * 7919 % 1000:03}"
        group.add(cost, us, unpriced_us, pod)
        every.append(Workload(*whose, pod, us, cost, unpriced_us))
    assert tuple(group.workloads()) == dearest(every)
    assert len(group.workloads()) == min(MOST, len(times))
