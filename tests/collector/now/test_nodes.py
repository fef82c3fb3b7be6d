"""A node in its newest window: the time of its GPUs by state, what pods hold of them idle, and who may see it."""

from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from sqlalchemy import Engine
from tests.databases import empty
from tests.statements import UTC, book
from tests.windows import MINUTE_US, START_US, device, histories, pod, reserved, unallocated, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.allocation.query import WHOLE, Scope
from gputally.collector.database.engine import reading
from gputally.collector.now.capacity import by_state
from gputally.collector.now.latest import FORGOTTEN_US, FRESH_US, held, read_latest
from gputally.collector.now.nodes import NodeNow, read_nodes_now
from gputally.collector.now.spells import read_spells
from gputally.collector.rates.pricing import read_pricer

END_US = START_US + MINUTE_US


def fill(engine: Engine) -> None:
    """Of one node a GPU is used, one held idle, one free; of another, of two models, a part that is barely used."""
    busy, idle = reserved(pod(), 30_000_000, 30_000_000), reserved(pod("vision", "idle"), 0, MINUTE_US)
    barely = reserved(pod("vision", "barely"), 500_000, MINUTE_US - 500_000)
    first = [device(one, uuid=f"GPU-{at}") for at, one in enumerate((busy, idle, unallocated(MINUTE_US)))]
    other = [device(barely, uuid="GPU-3"), device(unallocated(MINUTE_US), uuid="GPU-4", model="NVIDIA L40S")]
    book(engine, [window(*first, node="a"), window(*other, node="b", cluster="west")])


def nodes(engine: Engine, now_us: int = END_US, scope: Scope = WHOLE) -> list[NodeNow]:
    with reading(engine) as connection:
        return read_nodes_now(connection, now_us, scope)


def test_a_gpu_is_an_hour_of_one_state_or_of_several(engine: Engine) -> None:
    fill(engine)
    one, other = nodes(engine)
    half = HOUR_US // 2
    assert (one.gpus, one.states_us, one.held_idle_us) == (3, (half, half + HOUR_US, HOUR_US, 0, 0), HOUR_US)
    assert (one.model, other.model, other.gpus) == ("NVIDIA H100 80GB HBM3", "", 2)
    assert other.held_idle_us == HOUR_US  # less than 1 % of it was used
    assert {type(us) for node in (one, other) for us in (*node.states_us, node.held_idle_us)} == {int}  # no decimals


def test_nodes_add_up_to_their_parts(engine: Engine) -> None:
    """Also where an asker may see some of them alone."""
    fill(engine)
    for scope in (WHOLE, Scope(frozenset({"vision"})), Scope(None, frozenset({"west"})), Scope(frozenset())):
        with reading(engine) as connection:
            parts = read_latest(connection, END_US, scope)
        found = nodes(engine, scope=scope)
        assert [sum(times) for times in zip(*(one.states_us for one in found), strict=True)] == (
            list(by_state(parts)) if parts else []
        )
        assert [one.name for one in found] == sorted({one.node for one in parts})
        assert sum(one.gpus for one in found) == len({one.uuid for one in parts})


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(windows=histories())
def test_what_nodes_hold_idle_are_the_parts_of_which_spells_are_made(engine: Engine, windows: list[Window]) -> None:
    """So the page of the nodes and that of the spells say the same."""
    empty(engine)
    book(engine, windows)
    now_us = max(one.end_us for one in windows)
    with reading(engine) as connection:
        idle = [one for one in held(read_latest(connection, now_us, WHOLE)) if one.idle]
        pricer = read_pricer(connection, UTC)
        assert [one.standing for one in read_spells(connection, UTC, pricer, idle, now_us)] == [
            one for one in idle if not one.silent(now_us)
        ]
    found = {(one.cluster, one.name): one.held_idle_us for one in nodes(engine, now_us)}
    wanted = {(one.cluster, one.name): Fraction(0) for one in nodes(engine, now_us)}
    for one in idle:
        wanted[one.cluster, one.node] += one.share * HOUR_US
    assert found == {node: int(us) for node, us in wanted.items()}


def test_parts_of_some_nodes_alone_can_be_read(engine: Engine) -> None:
    fill(engine)
    other = nodes(engine)[1]
    with reading(engine) as connection:
        assert {one.node for one in read_latest(connection, END_US, WHOLE, nodes=[other.id])} == {"b"}
        assert read_latest(connection, END_US, WHOLE, nodes=[]) == []


def test_a_node_falls_silent_and_is_forgotten(engine: Engine) -> None:
    fill(engine)
    assert [one.silent(END_US + FRESH_US) for one in nodes(engine)] == [False, False]
    assert [one.silent(END_US + FRESH_US + 1) for one in nodes(engine)] == [True, True]
    assert nodes(engine, START_US + FORGOTTEN_US + 1) == []
