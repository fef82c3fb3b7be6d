"""What may enter the ledger now, rule by rule; no database."""

from hypothesis import given
from hypothesis import strategies as st
from tests.windows import received, window

from gputally.collector.ingest.admission import (
    ACCEPTED,
    DUPLICATE,
    MAX_AHEAD_US,
    RefusalReason,
    Span,
    Timeline,
    Verdict,
    age_refusal,
    future_refusal,
)


def test_age_is_counted_from_the_end_of_the_window() -> None:
    """A window whose lines would still be kept is taken."""
    content = received(window()).window
    assert age_refusal(content, content.end_us + 5, max_age_us=5) is None
    refusal = age_refusal(content, content.end_us + 6, max_age_us=5)
    assert refusal is not None
    assert refusal.reason is RefusalReason.TOO_OLD


def test_without_an_age_limit_nothing_is_too_old() -> None:
    """Lines that are kept for ever can be joined by any window."""
    assert age_refusal(received(window()).window, 2**62, max_age_us=None) is None


def test_the_same_bytes_are_a_duplicate_and_others_a_conflict() -> None:
    """A window is accepted once and whole, by its start and its content."""
    timeline = Timeline()
    taken = Span(10, 20, b"a")
    assert timeline.judge(taken) is ACCEPTED
    timeline.add(taken)
    assert timeline.judge(taken) is DUPLICATE
    conflict = timeline.judge(Span(10, 20, b"b"))
    assert conflict.verdict is Verdict.REFUSED
    assert conflict.refusal is not None
    assert conflict.refusal.reason is RefusalReason.CONFLICT


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12), st.integers(0, 60), st.integers(1, 20))
def test_overlap_is_found_wherever_it_is(taken: list[tuple[int, int]], start: int, length: int) -> None:
    """The neighbours in time are enough, because accepted windows never overlap each other."""
    timeline, accepted = Timeline(), []
    for at, size in taken:
        span = Span(at, at + size, b"taken")
        if all(span.end_us <= other.start_us or other.end_us <= span.start_us for other in accepted):
            accepted.append(span)
            timeline.add(span)
    new = Span(start, start + length, b"new")
    overlaps = any(other.start_us < new.end_us and new.start_us < other.end_us for other in accepted)
    assert timeline.judge(new).verdict is (Verdict.REFUSED if overlaps else Verdict.ACCEPTED)


def test_a_window_of_the_future_is_refused() -> None:
    """The clock that made it was ahead, even if the agent's clock is right by now; five minutes are let through."""
    content = received(window()).window
    assert future_refusal(content, content.end_us - MAX_AHEAD_US) is None
    refusal = future_refusal(content, content.end_us - MAX_AHEAD_US - 1_000_000)
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == (RefusalReason.CLOCK, "the window ends 301 s in the future")
