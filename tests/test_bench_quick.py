"""`make bench-quick`: what is worse than it may be ends it, and what a busy machine did once does not."""

from collections.abc import Sequence

import pytest
from benchmarks.kept import WORSE, Verdict, judge, page

KEPT = {"a line": 10.0, "a message": 4.0}


class Machine:
    """A second measurement; remembers what was asked of it."""

    def __init__(self, **ratios: float) -> None:
        self.ratios = {name.replace("_", " "): ratio for name, ratio in ratios.items()}
        self.asked: list[str] = []

    def again(self, names: Sequence[str]) -> dict[str, float]:
        self.asked += names
        return self.ratios


def worse(verdicts: Sequence[Verdict]) -> list[str]:
    return [each.name for each in verdicts if each.is_worse]


@pytest.mark.parametrize("times", [0.1, 1.0, WORSE])
def test_up_to_twice_the_kept_ratio_nothing_is_measured_again(times: float) -> None:
    machine = Machine()
    assert worse(judge({name: times * ratio for name, ratio in KEPT.items()}, KEPT, machine.again)) == []
    assert machine.asked == []


def test_what_looks_worse_is_measured_once_more_and_only_that() -> None:
    """The second measurement is of a whole group: what else it finds is not looked at."""
    machine = Machine(a_line=19.0, a_message=99.0)
    verdicts = judge({"a line": 21.0, "a message": 4.0}, KEPT, machine.again)
    assert machine.asked == ["a line"]
    assert verdicts == [Verdict("a line", (21.0, 19.0), 10.0), Verdict("a message", (4.0,), 4.0)]
    assert worse(verdicts) == []


def test_what_is_worse_twice_is_worse() -> None:
    verdicts = judge({"a line": 90.0, "a message": 4.0}, KEPT, Machine(a_line=20.1).again)
    assert worse(verdicts) == ["a line"]
    assert "a line     90 x, measured again 20.1 x, kept 10 x, at most 20 x: WORSE" in page(verdicts, KEPT)


def test_what_cannot_be_measured_again_stays_worse() -> None:
    assert worse(judge({"a line": 90.0}, KEPT, Machine().again)) == ["a line"]


def test_a_ratio_that_nothing_is_kept_of_is_not_let_through_and_no_second_look_is_wasted_on_it() -> None:
    """Else a figure under a new name would be compared with nothing for ever."""
    machine = Machine()
    verdicts = judge({"new": 1.0}, KEPT, machine.again)
    assert (worse(verdicts), machine.asked) == (["new"], [])
    assert "NOTHING IS KEPT" in page(verdicts, KEPT)


def test_the_page_says_what_was_compared_and_what_was_not() -> None:
    lines = page(judge({"a line": 7.5}, KEPT, Machine().again), KEPT).splitlines()
    assert lines == [
        "a line  7.5 x, kept 10 x, at most 20 x",
        "not measured here: a message",
        "1 ratios of CPU times compared, 0 worse than they may be",
    ]
