"""What is done about an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.notify.answer import LONGEST_ASKED_S, Failure, judged, wait_s

NOW_S = 1_794_994_620.0  # 2026-11-18T09:37:00Z


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, None),
        (204, None),
        (301, Failure.REDIRECT),
        (307, Failure.REDIRECT),
        (400, Failure.MESSAGE),
        (401, Failure.ADDRESS),
        (404, Failure.ADDRESS),
        (408, Failure.BUSY),
        (410, Failure.ADDRESS),
        (413, Failure.MESSAGE),
        (429, Failure.BUSY),
        (500, Failure.BROKEN),
        (599, Failure.BROKEN),
        (600, Failure.MESSAGE),
        (101, Failure.MESSAGE),
    ],
)
def test_only_what_is_the_messages_own_fault_is_never_sent_again(status: int, failure: Failure | None) -> None:
    answer = judged(status, "", "", NOW_S)
    assert answer.failure is failure
    assert answer.again == (failure not in (None, Failure.MESSAGE))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("30", 30),
        (" 0 ", 0),
        ("9" * 400, 999_999_999),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 18 Nov 2026 09:38:00 GMT", 60),
        ("Wed, 18 Nov 2026 09:00:00 GMT", 0),
        ("Wed, 99 Nov 2026 09:00:00 GMT", None),
        ("٣٠", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(text: str, seconds: int | None) -> None:
    assert judged(429, "", text, NOW_S).after_s == seconds


@given(st.integers(1, 10_000), st.one_of(st.none(), st.integers(0, 10**9)))
def test_the_wait_is_at_least_what_was_asked_for_and_never_for_ever(failures: int, after_s: int | None) -> None:
    wait = wait_s(failures, after_s)
    assert min(after_s or 0, LONGEST_ASKED_S) <= wait <= LONGEST_ASKED_S
    assert wait_s(failures + 1, after_s) >= wait


def test_the_wait_grows_to_ten_minutes() -> None:
    assert [wait_s(failures, None) for failures in range(1, 9)] == [15, 30, 60, 120, 240, 480, 600, 600]
