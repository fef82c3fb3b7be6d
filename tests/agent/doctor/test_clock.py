"""The collector's limits decide: beyond five minutes nothing is booked. Its clock counts for more than the kernel's."""

import pytest

from gputally.agent.doctor.clock import judge, kernel_says
from gputally.agent.doctor.finding import Level

S = 1_000_000


@pytest.mark.parametrize(
    ("synchronised", "skew_us", "level", "found"),
    [
        (True, None, Level.OK, "the kernel calls it synchronised"),
        (False, None, Level.WARN, "nothing says that it is synchronised"),
        (None, None, Level.WARN, "nothing says that it is synchronised"),
        (False, 3_000, Level.OK, "3 ms behind the collector's"),
        (True, -1_999_999, Level.OK, "1999 ms ahead of the collector's"),
        (True, -3 * S, Level.WARN, "3 s ahead of the collector's"),
        (True, 300 * S, Level.WARN, "300 s behind the collector's"),
        (True, 301 * S, Level.FAIL, "301 s behind the collector's, and it keeps aside what comes so"),
    ],
)
def test_a_clock_is_judged_by_what_it_costs(
    synchronised: bool | None, skew_us: int | None, level: Level, found: str
) -> None:
    line = judge(synchronised, skew_us)
    assert (line.level, line.found) == (level, found)


def test_the_kernel_is_asked_and_not_told() -> None:
    assert kernel_says() in (True, False, None)
