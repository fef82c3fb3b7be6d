"""The vocabulary: its order is part of the rules."""

from gputally.accounting.states import Source, State


def test_states_stand_in_the_order_that_breaks_ties() -> None:
    assert [state.value for state in State] == ["used", "idle", "unallocated", "unavailable", "unobserved"]


def test_a_line_of_several_parts_carries_the_least_certain_measured_source() -> None:
    assert Source.DEVICE_SAMPLES.least_certain(Source.PROCESS_SAMPLES) is Source.PROCESS_SAMPLES
    assert Source.ESTIMATED_SHARE.least_certain(Source.GPM) is Source.ESTIMATED_SHARE


def test_none_only_stands_where_nothing_was_measured() -> None:
    assert Source.NONE.least_certain(Source.DEVICE_RATE) is Source.DEVICE_RATE
    assert Source.DEVICE_RATE.least_certain(Source.NONE) is Source.DEVICE_RATE
    assert Source.NONE.least_certain(Source.NONE) is Source.NONE
