"""What may enter the ledger, rule by rule; no database."""

from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.windows import MINUTE_US, START_US, device, histories, pod, received, reserved, unallocated, window

from gputally.accounting.line import Window
from gputally.collector.ingest.admission import (
    ACCEPTED,
    DUPLICATE,
    MAX_AHEAD_US,
    MAX_AMOUNT,
    MAX_DEVICES,
    Received,
    RefusalReason,
    Span,
    Timeline,
    Verdict,
    age_refusal,
    future_refusal,
    invalidity,
)


def fault(content: Window) -> str:
    """What `invalidity` says about a window, whatever its bytes are."""
    refusal = invalidity(_as_received(content), UTC)
    assert refusal is None or refusal.reason is RefusalReason.INVALID
    return refusal.detail if refusal else ""


def _as_received(content: Window, agent_id: str = "agent", sequence: int = 1) -> Received:
    return Received(b"", content, agent_id, "boot", sequence, START_US)


@given(histories())
def test_what_agents_send_is_valid(windows: list[Window]) -> None:
    """The strategies of the storage tests keep the rules."""
    assert [fault(content) for content in windows] == [""] * len(windows)


def test_states_that_do_not_sum_to_capacity_are_invalid() -> None:
    """I1 is checked at the door."""
    part = replace(device(reserved(pod(), 1, 2)), capacity_us=4)
    assert "(I1)" in fault(window(part))


@pytest.mark.parametrize("length_us", [0, -1, MINUTE_US + 1])
def test_a_window_has_a_length_of_at_most_a_minute(length_us: int) -> None:
    """The overlap check looks back by the longest window, so there must be one."""
    assert fault(Window("east", "a", START_US, START_US + length_us, ()))


@pytest.mark.parametrize("start_us", [-1, 4_102_444_800_000_000, 2**62])
def test_a_window_lies_between_1970_and_2100(start_us: int) -> None:
    """Beyond that, calendars fail; a clock that is merely wrong is found at the edge."""
    assert "between 1970 and 2100" in fault(Window("east", "a", start_us, start_us + 1, ()))


def test_a_window_lies_in_one_ledger_hour() -> None:
    """Its lines must belong to one posting; 30 minutes past are an hour's end in Kolkata."""
    content = window(start_us=START_US + 30 * MINUTE_US - 1)
    assert invalidity(_as_received(content), UTC) is None
    refusal = invalidity(_as_received(content), ZoneInfo("Asia/Kolkata"))
    assert refusal is not None
    assert "ledger hour" in refusal.detail


@pytest.mark.parametrize("text", ["a\0b", "x" * 257, "語" * 86])
def test_a_text_that_no_key_can_hold_is_invalid(text: str) -> None:
    """PostgreSQL takes no NUL, and an index row holds 2704 bytes."""
    owner = pod(namespace=text)
    assert "256 bytes" in fault(window(device(reserved(owner, 1, 1))))
    assert "256 bytes" in fault(replace(window(), node=text))
    assert invalidity(_as_received(window(), agent_id=text), UTC) is not None


@pytest.mark.parametrize(("cluster", "node"), [("", "a"), ("east", "")])
def test_a_window_names_its_cluster_and_node(cluster: str, node: str) -> None:
    """Two nodes without a name would be one node."""
    assert "does not name" in fault(replace(window(), cluster=cluster, node=node))


def test_numbers_that_no_column_can_hold_are_invalid() -> None:
    """The wire's integers are unsigned and larger than a column."""
    assert invalidity(_as_received(window(), sequence=2**63), UTC) is not None
    assert fault(replace(window(), skipped_us=2**63))
    assert fault(window(device(reserved(pod(), 1, 1, burst_us=MAX_AMOUNT + 1))))
    assert fault(window(replace(device(reserved(pod(), 1, 1)), energy_end_mj=2**63)))


@given(histories(most=1), st.sampled_from(["used_us", "burst_us", "energy_dynamic_mj"]))
def test_nothing_is_negative(windows: list[Window], name: str) -> None:
    """I3 is checked at the door, whatever else is in the window."""
    content = windows[0]
    if not content.devices:
        return
    part = content.devices[0]
    lines = (replace(part.lines[0], **{name: -1}), *part.lines[1:])
    assert fault(replace(content, devices=(replace(part, lines=lines), *content.devices[1:])))


def test_age_is_counted_from_the_end_of_the_window() -> None:
    """A window whose lines would still be kept is taken."""
    content = window()
    assert age_refusal(content, content.end_us + 5, max_age_us=5) is None
    refusal = age_refusal(content, content.end_us + 6, max_age_us=5)
    assert refusal is not None
    assert refusal.reason is RefusalReason.TOO_OLD


def test_without_an_age_limit_nothing_is_too_old() -> None:
    """Lines that are kept for ever can be joined by any window."""
    assert age_refusal(window(), 2**62, max_age_us=None) is None


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


def test_a_built_window_is_valid_as_received() -> None:
    """The builders of the storage tests keep the rules."""
    assert invalidity(received(window()), UTC) is None


def test_a_window_of_the_future_is_refused() -> None:
    """The clock that made it was ahead, even if the agent's clock is right by now; five minutes are let through."""
    content = window()
    assert future_refusal(content, content.end_us - MAX_AHEAD_US) is None
    refusal = future_refusal(content, content.end_us - MAX_AHEAD_US - 1_000_000)
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == (RefusalReason.CLOCK, "the window ends 301 s in the future")


def test_a_window_of_more_than_a_node_can_have_is_invalid() -> None:
    """One message must not become millions of rows."""
    many = tuple(replace(device(unallocated(1)), uuid=f"GPU-{number}") for number in range(MAX_DEVICES + 1))
    refusal = invalidity(received(replace(window(), devices=many)), UTC)
    assert refusal is not None
    assert refusal.detail == "1025 devices, 1025 lines and 0 holders are more than a node has"
