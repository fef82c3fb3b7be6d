"""A message read by columns says what it says line by line, and contradicts itself in the same words."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from tests.spoiled import messages

from gputally.accounting.invariants import conservation_error_us
from gputally.collector.ingest.columns import head, read
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

T = TypeVar("T")


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
    assert {columns.owners[place][1:] for place in columns.named()} == {
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


def test_a_count_without_columns_takes_no_memory() -> None:
    """Twelve bytes must not become a list of four thousand million numbers."""
    message = pb.Window(sequence=7, node="node", lines=pb.Lines(count=2**32 - 1))
    with pytest.raises(codec.WireError, match="4294967295 lines without a column"):
        read(message)


def test_a_head_says_whose_window_it_is_and_holds_nothing() -> None:
    message = pb.Window(cluster="east", node="a", start_us=1, end_us=2, devices=[pb.Device(uuid="GPU-0")])
    found = head(message)
    assert (found.cluster, found.node, found.start_us, found.end_us) == ("east", "a", 1, 2)
    assert (found.devices, list(found.lines.device), found.conservation_error_us()) == ((), [], 0)
