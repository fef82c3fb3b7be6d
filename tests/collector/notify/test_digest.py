"""What goes next: the urgent first, and the last of an hour for all that is left."""

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.notify.digest import Waiting, digest, next_of
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.message import Level

FRAME = Frame(ZoneInfo("UTC"), "https://gpu.example.com/")


def waiting(count: int, level: Level = Level.WARNING) -> list[Waiting]:
    return [Waiting(f"{level}-{at:04}", level, at, f"pod {at} is idle") for at in range(count)]


def test_the_most_urgent_goes_first_and_of_these_the_oldest() -> None:
    mixed = [*waiting(2, Level.RESOLVED), *waiting(2), *waiting(2, Level.CRITICAL)]
    assert [one.id for one in next_of(mixed, 5)] == ["critical-0000"]


def test_nothing_goes_where_nothing_may() -> None:
    assert next_of(waiting(3), 0) == next_of(waiting(3), -4) == next_of([], 20) == []


def test_a_digest_names_ten_and_counts_the_others() -> None:
    together = next_of([*waiting(20), *waiting(2, Level.CRITICAL)], 1)
    message = digest(together, 3, FRAME)
    assert message.title == "25 more messages than may be sent in an hour: 2 critical, 20 warning"
    assert message.lines[-2:] == ("and 12 more", "and 3 of which nothing was kept")
    assert (len(message.lines), message.level) == (12, Level.CRITICAL)
    assert message.link == "https://gpu.example.com/idle"
    assert message.id == digest(together, 4, FRAME).id, "a receiver may have it already"
    assert message.details["by_level"] == {"warning": 20, "critical": 2, "resolved": 0}


@given(st.integers(0, 60), st.integers(0, 25))
def test_never_more_requests_than_are_allowed_and_nothing_is_left_behind(count: int, allowed: int) -> None:
    """Sent one after the other, each message is told once: on its own, or in the digest."""
    left, told, requests = waiting(count), [], 0
    while together := next_of(left, allowed - requests):
        told += together
        left = [one for one in left if one not in together]
        requests += 1
    assert requests <= allowed
    assert len(told) == len(set(told)) == (count if allowed else 0)
