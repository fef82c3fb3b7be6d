"""A message read by columns says what it says line by line, and contradicts itself in the same words."""

import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.spoiled import messages

from gputally.accounting.invariants import conservation_error_us
from gputally.collector.ingest.columns import Layouts, WindowColumns, head, read
from gputally.collector.ingest.layout import Layout
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

T = TypeVar("T")
_NOBODY = pb.Owner(kind="platform")
_NONE = Layout()


def _told(reads: Callable[[pb.Window], T], message: pb.Window) -> T | str:
    """What a reading gives, or why there is none."""
    try:
        return reads(message)
    except codec.WireError as error:
        return str(error)


@given(messages())
def test_columns_can_be_read_where_the_window_can_and_else_say_why_not(message: pb.Window) -> None:
    window, columns = _told(codec.decode, message), _told(read, message)
    if isinstance(window, str) or isinstance(columns, str):
        assert window == columns
        return
    assert (columns.cluster, columns.node, columns.start_us, columns.end_us) == (
        window.cluster,
        window.node,
        window.start_us,
        window.end_us,
    )
    assert (columns.skipped_us, columns.waited_us) == (window.skipped_us, window.waited_us)
    assert columns.conservation_error_us() == conservation_error_us(window)
    named = {holding.owner for device in window.devices for holding in (*device.start_holders, *device.end_holders)}
    named |= {line.key.owner for device in window.devices for line in device.lines}
    assert {columns.layout.owners[place][1:] for place in columns.layout.named()} == {
        (
            owner.namespace,
            owner.pod,
            owner.container,
            owner.pod_uid,
            owner.first_seen_us,
            owner.user,
            owner.unit,
        )
        for owner in named
    }


@given(st.lists(messages(), min_size=2, max_size=4), st.randoms())
def test_a_layout_that_is_known_already_gives_the_same_window(some: list[pb.Window], dice: Random) -> None:
    """Whatever else was read before: windows that differ in more than amounts never share a layout."""
    layouts = Layouts(2)
    for message in dice.choices(some, k=6):
        expected = _told(read, message)
        found = _told(lambda told: layouts.read(told.SerializeToString()), message)
        assert _fields(found) == _fields(expected)


def _fields(window: WindowColumns | str) -> object:
    """All that a window says; layouts are equal only to themselves."""
    if isinstance(window, str):
        return window
    layout = tuple(getattr(window.layout, field.name) for field in fields(Layout))
    return replace(window, layout=_NONE), [list(part) if part else part for part in layout]


@given(messages())
def test_windows_that_differ_by_time_and_amounts_alone_have_one_layout(message: pb.Window) -> None:
    layouts = Layouts(2)
    first = _told(lambda told: layouts.read(told.SerializeToString()), message)
    message.start_us ^= 1
    message.sequence //= 2
    for device in message.devices:
        device.capacity_us //= 2
        device.ClearField("energy_start_mj")
    message.lines.used_us[:] = [us // 2 for us in message.lines.used_us]
    second = _told(lambda told: layouts.read(told.SerializeToString()), message)
    if not isinstance(first, str) and not isinstance(second, str):
        assert second.layout is first.layout


def test_no_more_layouts_are_kept_than_it_may() -> None:
    """The one that was not used for longest is read again."""
    layouts = Layouts(2)
    told = [pb.Window(node=name).SerializeToString() for name in ("a", "b", "c")]
    a, b = (layouts.read(content).layout for content in told[:2])
    assert layouts.read(told[0]).layout is a
    layouts.read(told[2])
    assert layouts.read(told[0]).layout is a
    assert layouts.read(told[1]).layout is not b


def test_layouts_take_no_more_memory_than_they_may() -> None:
    """Else the changes of a few busy nodes, or one sender of large windows, would fill it."""
    layouts = Layouts(1000, most_bytes=1000)
    lines = pb.Lines(count=30, used_us=[1] * 30)
    told = [
        pb.Window(node=name, devices=[pb.Device(uuid="GPU")], owners=[_NOBODY], partitions=["gpu"], lines=lines)
        for name in "abcde"
    ]
    first, *_ = found = [layouts.read(message.SerializeToString()).layout for message in told]
    assert layouts.read(told[4].SerializeToString()).layout is found[4]
    assert layouts.read(told[1].SerializeToString()).layout is not found[1]
    assert layouts.read(told[0].SerializeToString()).layout is not first


def test_a_layout_that_alone_is_too_large_leaves_those_that_are_known() -> None:
    layouts = Layouts(1000, most_bytes=1000)
    small = pb.Window(node="a").SerializeToString()
    known = layouts.read(small).layout
    large = pb.Window(node="b", partitions=["gpu" * 400]).SerializeToString()
    assert layouts.read(large).layout is not layouts.read(large).layout
    assert layouts.read(small).layout is known


def test_of_long_names_nothing_is_kept_but_with_their_layout() -> None:
    """A sender may make them as long as a message, and another one in each."""
    layouts = Layouts(1000, most_bytes=1000)
    tracemalloc.start()
    try:
        for number in range(20):
            name = f"{number:x<1000000}"
            message = pb.Window(partitions=[name], devices=[pb.Device(uuid="GPU", model=name)])
            layouts.read(message.SerializeToString())
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_count_without_columns_takes_no_memory() -> None:
    """Twelve bytes must not become a list of four thousand million numbers."""
    message = pb.Window(sequence=7, node="node", lines=pb.Lines(count=2**32 - 1))
    with pytest.raises(codec.WireError, match="4294967295 lines without a column"):
        read(message)


def test_a_head_says_whose_window_it_is_and_holds_nothing() -> None:
    message = pb.Window(cluster="east", node="a", start_us=1, end_us=2, devices=[pb.Device(uuid="GPU-0")])
    found = head(message)
    assert (found.cluster, found.node, found.start_us, found.end_us) == ("east", "a", 1, 2)
    assert (found.devices, list(found.layout.device), found.conservation_error_us()) == ((), [], 0)
