"""What can never enter a ledger, rule by rule; no database."""

from dataclasses import replace
from datetime import UTC, tzinfo
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.windows import MINUTE_US, START_US, device, histories, pod, received, reserved, unallocated, window

from gputally.accounting.keys import REPLICA, Holding
from gputally.accounting.line import Window
from gputally.collector.ingest import rules
from gputally.collector.ingest.admission import RefusalReason
from gputally.collector.ingest.rules import MAX_AMOUNT, MAX_BUSY, MAX_DEVICES
from gputally.collector.ingest.validity import invalidity


def fault(content: Window, zone: tzinfo = UTC, **head: str | int) -> str:
    """What is wrong with a window, which is also what is said of it when it arrives; `head` is what it arrives with."""
    arrived = replace(received(content), **head)
    refusal = invalidity(arrived, zone)
    assert refusal is None or refusal.reason is RefusalReason.INVALID
    found = rules.fault(arrived, content, zone)
    assert found == (refusal.detail if refusal else "")
    return found


@given(histories())
def test_what_agents_send_is_valid(windows: list[Window]) -> None:
    """The strategies of the storage tests keep the rules."""
    assert [fault(content) for content in windows] == [""] * len(windows)


def test_states_that_do_not_sum_to_capacity_are_invalid() -> None:
    """I1 is checked at the door."""
    part = replace(device(reserved(pod(), 1, 2)), capacity_us=4)
    assert "(I1)" in fault(window(part))


def test_shares_that_would_take_minutes_to_add_up_are_refused_at_once() -> None:
    """A node may say what it likes of itself, and must not hold up the others with it."""
    held = tuple(Holding(pod(name=f"p{n}"), REPLICA, Fraction(1, 10**6 + n)) for n in range(20_000))
    part = replace(device(reserved(pod(), 1, 2)), start_holders=held, end_holders=held)
    assert "denominators" in fault(window(part))


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
    assert not fault(content)
    assert "ledger hour" in fault(content, ZoneInfo("Asia/Kolkata"))


@pytest.mark.parametrize("text", ["a\0b", "x" * 257, "語" * 86])
def test_a_text_that_no_key_can_hold_is_invalid(text: str) -> None:
    """PostgreSQL takes no NUL, and an index row holds 2704 bytes."""
    owner = pod(namespace=text)
    assert "256 bytes" in fault(window(device(reserved(owner, 1, 1))))
    assert "256 bytes" in fault(replace(window(), node=text))
    assert "256 bytes" in fault(window(), agent_id=text)


@pytest.mark.parametrize(("cluster", "node"), [("", "a"), ("east", "")])
def test_a_window_names_its_cluster_and_node(cluster: str, node: str) -> None:
    """Two nodes without a name would be one node."""
    assert "does not name" in fault(replace(window(), cluster=cluster, node=node))


def test_numbers_that_no_column_can_hold_are_invalid() -> None:
    """The wire's integers are unsigned and larger than a column."""
    assert fault(window(), sequence=2**63)
    assert fault(replace(window(), skipped_us=2**63))
    assert fault(window(replace(device(reserved(pod(), 1, 1)), energy_end_mj=2**63)))


@pytest.mark.parametrize(
    ("name", "most", "words"),
    [
        ("burst_us", MAX_BUSY * MINUTE_US, "more than 64 times the window's 60000000 us"),
        ("intruder_us", MAX_BUSY * MINUTE_US, "more than 64 times the window's 60000000 us"),
        ("held_us", MINUTE_US, "60000001 us filled with the last value, of a window of 60000000 us"),
    ],
)
def test_a_memo_of_time_is_bounded_by_the_window(name: str, most: int, words: str) -> None:
    """They stand outside the sum of the states, so that a node could send any number, and no sum of a day held it."""
    assert not fault(window(device(reserved(pod(), 1, 1, **{name: most}))))
    assert words in fault(window(device(reserved(pod(), 1, 1, **{name: most + 1}))))


@pytest.mark.parametrize("name", ["energy_idle_mj", "energy_dynamic_mj", "memory_byte_s"])
def test_energy_and_memory_are_bounded_for_all_lines_of_a_device_together(name: str) -> None:
    """A hundred thousand lines, each of which a device could have, are not what it has."""
    half = MAX_AMOUNT // 2
    lines = [replace(reserved(pod(name=owner), 1, 1), **{name: half}) for owner in ("a", "b")]
    assert not fault(window(device(*lines)))
    assert not fault(window(device(*lines), device(*lines, uuid="GPU-1")))
    lines.append(replace(reserved(pod(name="c"), 1, 1), **{name: 1}))
    assert fault(window(device(*lines))) == f"GPU-0: its lines hold more than {MAX_AMOUNT} mJ or byte-seconds"


@given(histories(most=1), st.sampled_from(["used_us", "burst_us", "energy_dynamic_mj"]))
def test_nothing_is_negative(windows: list[Window], name: str) -> None:
    """I3 is checked at the door, whatever else is in the window."""
    content = windows[0]
    if not content.devices:
        return
    part = content.devices[0]
    lines = (replace(part.lines[0], **{name: -1}), *part.lines[1:])
    spoiled = replace(content, devices=(replace(part, lines=lines), *content.devices[1:]))
    assert rules.fault(received(content), spoiled, UTC)


def test_a_built_window_is_valid_as_received() -> None:
    """The builders of the storage tests keep the rules."""
    assert not fault(window())


def test_a_window_of_more_than_a_node_can_have_is_invalid() -> None:
    """One message must not become millions of rows."""
    many = tuple(replace(device(unallocated(1)), uuid=f"GPU-{number}") for number in range(MAX_DEVICES + 1))
    words = "1025 devices, 1025 lines and 0 holders are more than a node has"
    assert fault(replace(window(), devices=many)) == words
