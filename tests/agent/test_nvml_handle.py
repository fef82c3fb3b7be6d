"""The buffer that the driver's arrays are fetched into."""

from typing import Any

from gputally.agent.nvml.handle import ARRAY_BYTES, Array
from gputally.agent.nvml.records import PROCESS


def test_a_driver_that_counts_more_than_there_was_room_for_gives_whole_entries_only() -> None:
    """The room is no multiple of every entry; half an entry would end the probe, again and again."""

    def call(_room: Any, count: Any) -> int:
        count._obj.value = 1 << 20
        return 0

    entries = Array().fill(PROCESS.size, call)
    assert len(entries) == ARRAY_BYTES // PROCESS.size * PROCESS.size
    assert ARRAY_BYTES % PROCESS.size
    assert len(list(PROCESS.iter_unpack(entries))) == ARRAY_BYTES // PROCESS.size
