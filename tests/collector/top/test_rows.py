"""What a row says of who holds what: figures where something was measured, a dash where not, and the dearest first."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.top.facts import NOON_US, facts, spell, standing

from gputally.accounting.states import OwnerKind
from gputally.collector.now.latest import FRESH_US, Standing
from gputally.collector.top.facts import Facts
from gputally.collector.top.rows import INTRUDER, SILENT, UNKNOWN, By, Column, Row, Sort, ordered, rows

FIGURES = (Column.BUSY, Column.LASTS, Column.SINCE, Column.MEMORY, Column.RATE, Column.COST)
A, B = "GPU-11b1c7a0-3d4e-4f8a-9c61-0e2f7d8a4b11", "GPU-11b1c7a0-3d4e-4f8a-9c61-0e2f7d8a4b22"


def row(found: Facts, by: By = By.CONTAINER) -> Row:
    (only,) = rows(found, by)
    return only


def figures(one: Row) -> list[str]:
    return [one.cells[column] for column in FIGURES]


def test_an_idle_gpu_says_since_when_and_what_that_cost() -> None:
    one = standing(idle=60, memory_gib=61)
    found = row(facts([one], [spell(one, 5, 10)]))
    assert figures(found) == ["0.0 %", "5h", "07:00", "61.0", "2.00", "10.00"]
    assert (found.cells[Column.STATE], found.cells[Column.POD], found.cells[Column.GPUS]) == ("idle", "train-0", "1")


def test_a_gpu_in_use_has_no_spell() -> None:
    found = row(facts([standing(used=45, idle=15)]))
    assert figures(found) == ["75.0 %", UNKNOWN, UNKNOWN, "1.0", "2.00", UNKNOWN]
    assert found.cells[Column.STATE] == "used"


def test_what_was_not_measured_has_no_price_or_is_not_known_is_a_dash_and_never_0() -> None:
    one = standing(unobserved=60, memory_gib=None)
    found = row(facts([one], price=None))
    assert figures(found) == [UNKNOWN] * 6
    assert found.cells[Column.STATE] == "unobserved"


def test_of_a_silent_node_nothing_is_known_now() -> None:
    found = row(facts([standing(idle=60)], now_us=NOON_US + FRESH_US + 1))
    assert figures(found) == [UNKNOWN] * 6
    assert found.cells[Column.STATE] == SILENT
    assert found.silent


def test_a_spell_that_began_before_the_look_back_is_said_to_be_longer() -> None:
    one = standing(idle=60)
    found = row(facts([one], [spell(one, 7 * 24, before=True)]))
    assert (found.cells[Column.SINCE], found.cells[Column.LASTS]) == ("<24 Jun", ">7d")


@pytest.mark.parametrize(("before", "unpriced_us"), [(True, 0), (False, 1)])
def test_a_cost_that_lacks_something_is_marked(before: bool, unpriced_us: int) -> None:
    """What has no price, and what was before the look, is in no cost."""
    one = standing(idle=60)
    found = replace(spell(one, 5, 10, before=before), unpriced_us=unpriced_us)
    assert row(facts([one], [found])).cells[Column.COST] == "10.00+"
    assert row(facts([one], [replace(found, cost=None)])).cells[Column.COST] == UNKNOWN


def test_a_name_that_is_an_escape_sequence_is_not_obeyed() -> None:
    one = standing("\x1b]0;mine\x07", idle=60, node="\x9b31mred")
    cells = row(facts([one], [spell(one, 5, 10)])).cells
    assert all(text.isprintable() for text in cells.values())


def test_what_nobody_has_is_no_row() -> None:
    assert rows(facts([standing(kind=OwnerKind.PLATFORM, free=60)])) == []


def test_a_process_without_a_reservation_is_its_users_and_busy_for_its_part_of_the_device() -> None:
    found = row(facts([standing(kind=OwnerKind.HOST, user="ann", used=20)]))
    assert (found.cells[Column.NAMESPACE], found.cells[Column.POD]) == ("(host)", "host user ann")
    assert found.cells[Column.BUSY] == "33.3 %"


def test_a_process_that_runs_in_anothers_time_is_an_intruder() -> None:
    assert row(facts([standing(kind=OwnerKind.HOST, user="ann")])).cells[Column.STATE] == INTRUDER


def test_the_parts_of_a_container_are_one_row_that_says_how_many_are_idle() -> None:
    """Eight GPUs of which seven are idle are seven, and never one average that looks a little busy."""
    parts = [standing(idle=60, uuid=f"GPU-{at}") for at in range(7)] + [standing(used=60, uuid="GPU-7")]
    found = row(facts(parts, [spell(one, 5 - (at == 0), 10) for at, one in enumerate(parts[:7])]))
    assert (found.cells[Column.STATE], found.cells[Column.GPUS], found.cells[Column.DEVICE]) == ("7/8 idle", "8", "")
    assert figures(found) == ["12.5 %", "5h", "07:00", "8.0", "16.00", "70.00"]


def test_memory_of_which_a_part_is_not_known_is_not_known() -> None:
    parts = [standing(idle=60, uuid=A), standing(idle=60, uuid=B, memory_gib=None)]
    assert row(facts(parts)).cells[Column.MEMORY] == UNKNOWN


def test_each_part_can_have_a_row_of_its_own() -> None:
    mig = standing(idle=30, partition="MIG-a1", profile="3g.40gb", uuid=A)
    found = rows(facts([mig, standing(idle=60, uuid=B)]), By.PARTITION)
    assert [one.cells[Column.PART] for one in found] == ["3g.40gb", ""]
    assert all(one.cells[Column.DEVICE] for one in found)


def test_devices_have_as_much_of_their_uuid_as_tells_them_apart() -> None:
    found = rows(facts([standing(idle=60, uuid=A), standing(idle=60, uuid=B)]), By.PARTITION)
    assert {one.cells[Column.DEVICE] for one in found} == {A.removeprefix("GPU-")[:35], B.removeprefix("GPU-")[:35]}
    found = rows(facts([standing(idle=60, uuid=A), standing(idle=60, uuid="GPU-0")]), By.PARTITION)
    assert {one.cells[Column.DEVICE] for one in found} == {"11b1c7a0", "0"}


def test_nodes_have_their_clusters_name_where_there_are_several() -> None:
    found = rows(facts([standing(idle=60), standing(idle=60, cluster="west")]))
    assert sorted(one.cells[Column.NODE] for one in found) == ["east/gpu-1", "west/gpu-1"]


def test_money_adds_up_down_the_column() -> None:
    """Three thirds of a GPU at 2.00 are 0.67, 0.67 and 0.66."""
    parts = [standing(f"p-{at}", idle=20, uuid=f"GPU-{at}") for at in range(3)]
    assert [one.cells[Column.RATE] for one in rows(facts(parts))] == ["0.67", "0.67", "0.66"]


# Orders.


def names(found: Sequence[Row]) -> list[str]:
    return [one.cells[Column.POD] for one in found]


def three() -> Facts:
    cheap = standing("cheap", idle=60, uuid="GPU-1", memory_gib=9)
    dear = standing("dear", idle=60, uuid="GPU-2", memory_gib=None)
    busy = standing("busy", used=60, uuid="GPU-3", memory_gib=3)
    return facts([cheap, dear, busy], [spell(cheap, 9, 1), spell(dear, 2, 5)])


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort.COST, ["dear", "cheap", "busy"]),
        (Sort.SINCE, ["cheap", "dear", "busy"]),
        (Sort.BUSY, ["busy", "cheap", "dear"]),
        (Sort.MEMORY, ["cheap", "busy", "dear"]),
        (Sort.NAME, ["busy", "cheap", "dear"]),
    ],
)
def test_each_order_has_its_first(sort: Sort, expected: list[str]) -> None:
    assert names(ordered(rows(three()), sort)) == expected


def test_what_is_not_known_comes_last_in_either_direction() -> None:
    assert names(ordered(rows(three()), Sort.COST, reverse=True)) == ["cheap", "dear", "busy"]
    assert names(ordered(rows(three()), Sort.MEMORY, reverse=True)) == ["busy", "cheap", "dear"]


def fleets() -> st.SearchStrategy[list[Standing]]:
    """Containers with some parts of devices each."""
    part = st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.sampled_from([None, 1, 40]))
    return st.lists(part, max_size=8).map(
        lambda found: [
            standing(pod, used=used, idle=60 - used, uuid=f"GPU-{at}", memory_gib=memory)
            for at, (pod, used, memory) in enumerate(found)
        ]
    )


@given(parts=fleets(), sort=st.sampled_from(Sort), reverse=st.booleans())
def test_rows_together_or_apart_and_in_any_order_are_of_the_same_money(
    parts: list[Standing], sort: Sort, *, reverse: bool
) -> None:
    found = facts(parts)
    together, apart = (ordered(rows(found, by), sort, reverse=reverse) for by in By)
    for sums in (together, apart):
        assert sum(one.values[Sort.RATE] or 0 for one in sums) == sum(rate or 0 for rate in found.rates.values())
    assert len(apart) == len(parts)
