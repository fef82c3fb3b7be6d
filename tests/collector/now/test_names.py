"""What a part of a device is called, and who has it."""

from fractions import Fraction

import pytest
from tests.collector.top.facts import standing

from gputally.accounting.states import OwnerKind
from gputally.collector.now.latest import Standing
from gputally.collector.now.names import count, holder, partition


@pytest.mark.parametrize(
    ("one", "part", "whose"),
    [
        (standing(idle=60), "whole GPU", "vision"),
        (standing(idle=30), "part of a GPU", "vision"),
        (standing(idle=30, partition="MIG-a", profile="3g.40gb"), "3g.40gb", "vision"),
        (standing(idle=30, partition="MIG-a"), "MIG-a", "vision"),
        (standing(idle=30, partition="replica"), "replica", "vision"),
        (standing(kind=OwnerKind.PLATFORM, free=60), "whole GPU", "nobody"),
        (standing(kind=OwnerKind.PLATFORM, free=30), "the rest", "nobody"),
        (standing(kind=OwnerKind.HOST, user="ann", used=30), "no reservation", "host user ann"),
        (standing(kind=OwnerKind.HOST, used=30), "no reservation", "host user unknown"),
    ],
)
def test_a_part_has_a_name_and_a_holder(one: Standing, part: str, whose: str) -> None:
    assert (partition(one), holder(one)) == (part, whose)


def test_whole_gpus_are_whole_numbers() -> None:
    assert [count(Fraction(n, 7)) for n in (0, 3, 7, 14)] == ["0", "0.43", "1", "2"]
