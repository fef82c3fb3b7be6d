"""The watchman: a window that breaks a rule is told so, by name."""

from dataclasses import replace
from fractions import Fraction

from gputally.accounting.invariants import conservation_error_us, violations
from gputally.accounting.keys import PLATFORM_KEY, Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.states import OwnerKind, Source

LINE = Line(PLATFORM_KEY, Source.DEVICE_SAMPLES, unallocated_us=60_000_000, energy_dynamic_mj=500)
DEVICE = DeviceWindow("GPU-1", "H100", 60_000_000, (LINE,), energy_start_mj=100, energy_end_mj=600)
GOOD = Window("c", "n", 0, 60_000_000, (DEVICE,))


def with_device(**changes: object) -> Window:
    return replace(GOOD, devices=(replace(DEVICE, **changes),))


def test_a_good_window_breaks_nothing() -> None:
    assert violations(GOOD) == []
    assert conservation_error_us(GOOD) == 0


def test_i1_a_microsecond_that_is_missing_is_found() -> None:
    window = with_device(lines=(replace(LINE, unallocated_us=59_999_999),))
    assert "I1" in violations(window)[0]
    assert conservation_error_us(window) == 1


def test_i2_a_millijoule_too_much_is_found() -> None:
    assert "I2" in violations(with_device(energy_end_mj=599))[0]


def test_i2_says_nothing_where_the_counter_broke() -> None:
    assert violations(with_device(energy_end_mj=3, energy_breaks=1)) == []


def test_i3_a_negative_amount_is_found_even_when_the_sum_is_right() -> None:
    line = replace(LINE, unallocated_us=60_000_001, used_us=-1)
    assert any("I3" in text for text in violations(with_device(lines=(line,))))


def test_two_lines_of_one_key_are_one_line_too_many() -> None:
    half = replace(LINE, unallocated_us=30_000_000, energy_dynamic_mj=250)
    assert any("same key" in text for text in violations(with_device(lines=(half, half))))


def test_a_device_cannot_have_more_time_than_the_window() -> None:
    assert violations(replace(GOOD, end_us=50_000_000))


def test_a_device_stands_once_in_a_window() -> None:
    assert any("twice" in text for text in violations(replace(GOOD, devices=(DEVICE, DEVICE))))


def test_holders_at_an_edge_hold_no_more_than_the_device() -> None:
    """A gap is booked by them: more than the device would be time from nothing."""
    one, other = (Owner(OwnerKind.POD, "research", name) for name in ("a", "b"))
    half, most = Fraction(1, 2), Fraction(2, 3)
    assert violations(with_device(end_holders=(Holding(one, share=half), Holding(other, share=half)))) == []
    assert any("end" in text for text in violations(with_device(end_holders=(Holding(one, share=most),) * 2)))
    assert any("start" in text for text in violations(with_device(start_holders=(Holding(one, share=Fraction(0)),))))


def test_quality_is_never_more_than_all_of_the_time() -> None:
    good = replace(LINE, quality=Quality(60_000_000, 60_000_000, 0, 0, 1))
    assert violations(with_device(lines=(good,))) == []
    for quality in (Quality(1, sm_us=2), Quality(60_000_001), Quality(5, tensor_us=-1)):
        assert any("quality" in text for text in violations(with_device(lines=(replace(LINE, quality=quality),))))


def test_i3_memory_is_not_negative() -> None:
    assert any("I3" in text for text in violations(with_device(lines=(replace(LINE, memory_byte_s=-1),))))
    assert any("I3" in text for text in violations(with_device(ghost_memory_byte_s=-1)))
