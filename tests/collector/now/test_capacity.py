"""GPUs by state now: each device once, whatever its window's length."""

from hypothesis import given
from hypothesis import strategies as st
from tests.collector.top.facts import HOUR_US, standing

from gputally.accounting.ledger_hour import HOUR_US as A_GPU
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.now.capacity import by_state


def test_a_gpu_is_an_hour_of_an_hour() -> None:
    parts = [standing(idle=60), standing(used=45, idle=15), standing(kind=OwnerKind.PLATFORM, free=30, unobserved=30)]
    assert [us / A_GPU for us in by_state(parts)] == [0.75, 1.25, 0.5, 0, 0.5]


def test_a_window_of_no_time_is_of_no_gpu() -> None:
    one = standing(idle=60)
    assert by_state([one._replace(start_us=one.end_us, amounts=Amounts())]) == (0, 0, 0, 0, 0)


@given(st.integers(1, 60), st.integers(0, 60))
def test_a_shorter_window_is_of_as_many_gpus(seconds: int, used: int) -> None:
    """Restarts cut windows."""
    used = min(used, seconds)
    one = standing(used=used, idle=seconds - used)
    found = by_state([one._replace(start_us=one.end_us - seconds * 1_000_000)])
    assert abs(sum(found) - HOUR_US) <= 2
