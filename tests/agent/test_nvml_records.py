"""What NVML's arrays mean, and that no array, however wrong, becomes a number that nobody measured."""

from collections import Counter
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.agent.nvml.records import (
    AHEAD_US,
    busy_samples,
    known,
    known_percent,
    merge_processes,
    millionths,
    process_busy,
    sample_entries,
    sysfs_bus_id,
)
from gputally.agent.sample import BusySample, GpuProcess, ProcessBusy, ProcessKind

NOW = 1_800_000_000_000_000
U64 = st.integers(0, 2**64 - 1)
NEAR_NOW = st.integers(NOW - 20_000_000, NOW + 20_000_000)
PERCENT = st.integers(0, 2**32 - 1) | st.integers(0, 120)
KIND = ProcessKind


def record(pid: int, stamp_us: int, percent: int) -> bytes:
    """One nvmlProcessUtilizationSample_t."""
    return pack("=I4xQIIII", pid, stamp_us, percent, 0, 0, 0)


def entry(pid: int, memory: int) -> bytes:
    """One nvmlProcessInfo_v2_t."""
    return pack("=I4xQII", pid, memory, 0, 0)


@given(st.lists(st.tuples(U64 | NEAR_NOW, U64 | st.integers(0, 120))), NEAR_NOW)
def test_busy_samples_are_ordered_new_credible_and_every_other_one_is_counted(
    entries: list[tuple[int, int]], after_us: int
) -> None:
    rejected: Counter[str] = Counter()
    samples = busy_samples(entries, after_us, NOW, rejected)
    ends = [after_us, *(sample.end_us for sample in samples)]
    assert ends == sorted(set(ends))
    assert all(sample.end_us <= NOW + AHEAD_US for sample in samples)
    assert all(sample.percent is None or 0 <= sample.percent <= 100 for sample in samples)
    good = sum(sample.percent is not None for sample in samples)
    assert good + rejected.total() == len(entries)


@given(
    st.lists(st.tuples(st.integers(0, 5), U64 | NEAR_NOW, st.integers(0, 2**32 - 1) | st.integers(0, 120))), NEAR_NOW
)
def test_process_busy_is_credible_and_its_cursor_never_goes_back_or_ahead(
    records: list[tuple[int, int, int]], after_us: int
) -> None:
    array = b"".join(record(*each) for each in records)
    busy, newest_us = process_busy(array, after_us, NOW, Counter())
    assert len({each.pid for each in busy}) == len(busy)
    assert all(each.pid > 0 and 0 <= each.percent <= 100 for each in busy)
    assert newest_us == after_us or after_us < newest_us <= NOW + AHEAD_US


@pytest.mark.parametrize(
    ("value_type", "layout", "value", "expected"),
    [
        (0, "=Qd", 41.0, 41),
        (1, "=QI4x", 41, 41),
        (2, "=QQ", 41, 41),
        (3, "=QQ", 41, 41),
        (4, "=Qq", -1, None),
        (5, "=Qi4x", 41, 41),
        (6, "=QH6x", 41, 41),
        (0, "=Qd", float("nan"), None),
        (99, "=QQ", 41, None),
    ],
)
def test_the_value_is_read_as_the_type_that_came_with_it(
    value_type: int, layout: str, value: float, expected: int | None
) -> None:
    entries = sample_entries(pack(layout, NOW, value), value_type)
    assert busy_samples(entries, NOW - 1, NOW, Counter()) == (BusySample(NOW, expected),)


def test_records_keep_the_time_of_their_own_process() -> None:
    array = record(1, NOW - 5, 30) + record(2, NOW - 9, 60)
    busy, newest_us = process_busy(array, NOW - 100, NOW, Counter())
    assert (set(busy), newest_us) == ({ProcessBusy(1, 30), ProcessBusy(2, 60)}, NOW - 5)


def test_memory_that_one_list_knows_and_another_does_not_is_known() -> None:
    lists = [(KIND.COMPUTE, entry(1, 2**64 - 1) + entry(2, 0)), (KIND.GRAPHICS, entry(1, 7))]
    assert merge_processes(lists, Counter()) == (GpuProcess(1, KIND.COMPUTE, 7), GpuProcess(2, KIND.COMPUTE, 0))


@given(st.floats())
def test_a_percentage_with_decimals_is_millionths_or_refused(percent: float) -> None:
    rejected: Counter[str] = Counter()
    value = millionths(percent, "x", rejected)
    assert rejected.total() == (value is None)
    assert value is None or abs(value - percent * 10_000) <= 0.5


@pytest.mark.parametrize("percent", [float("nan"), float("inf"), -0.1, 100.1, -300.0, 1e30])
def test_a_percentage_that_cannot_be_one_is_refused(percent: float) -> None:
    rejected: Counter[str] = Counter()
    assert millionths(percent, "x", rejected) is None
    assert rejected == {"x-out-of-range": 1}


def test_processes_carry_the_mig_device_on_whose_list_they_stand() -> None:
    lists = [(KIND.COMPUTE, entry(1, 7)), (KIND.MPS, entry(1, 9))]
    assert merge_processes(lists, Counter(), "MIG-1") == (GpuProcess(1, KIND.MPS, 9, instance="MIG-1"),)


def test_a_sentinel_is_unknown_and_counted_and_zero_is_zero() -> None:
    rejected: Counter[str] = Counter()
    assert known(0, 9, "x", rejected) == 0
    assert known(None, 9, "x", rejected) is None
    assert rejected == {}
    assert known(9, 9, "x", rejected) is None
    assert known_percent(101, "x", rejected) is None
    assert rejected == {"x-sentinel": 1, "x-out-of-range": 1}


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:3b:00.0", "0000:3b:00.0"),
        ("00010000:3B:00.0", "00010000:3b:00.0"),
        ("", ""),
    ],
)
def test_bus_ids_are_written_as_sysfs_writes_them(given_id: str, expected: str) -> None:
    assert sysfs_bus_id(given_id) == expected
