"""The dearest idle workloads are the same, however many pods come and in whatever order."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.databases import empty
from tests.statements import JULY, UTC, apply, book
from tests.windows import MINUTE_US, MODEL, device, pod, reserved, window

from gputally.accounting.states import State
from gputally.collector.allocation.allocation import read_usage
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.database.engine import reading
from gputally.collector.statement.idle import MOST, Group, Whose, Workload, dearest, idle_workloads
from gputally.collector.statement.terms import read_terms

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


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 3), st.sampled_from([MODEL, "NVIDIA L40S"])), min_size=25))
def test_a_pod_in_several_places_is_among_the_dearest_by_all_of_them(
    engine: Engine, held: list[tuple[int, int, str]]
) -> None:
    """Whatever else is dearer in one of them, or has no price."""
    empty(engine)
    apply(engine)
    parts = [(pod(name=f"pod-{number:02}"), idle * 1_000_000, model) for number, idle, model in held]
    lines = [(reserved(owner, MINUTE_US - idle_us, idle_us), model) for owner, idle_us, model in parts]
    book(engine, [window(*(device(one, uuid=f"GPU-{at}", model=of) for at, (one, of) in enumerate(lines)))])
    with reading(engine) as connection:
        found = idle_workloads(connection, JULY.period, read_terms(connection, UTC))
        rows = read_usage(connection, UTC, Query(JULY.period, UTC, (By.POD,), states=(State.IDLE,)))
    every = [(row.money.cost or 0, row.amounts.idle_us, row.keys[-1]) for row in rows if row.amounts.idle_us]
    wanted = sorted(every, key=lambda one: (-one[0], -one[1], one[2]))[:MOST]
    assert [(one.cost, one.idle_us, one.pod) for one in found] == wanted
