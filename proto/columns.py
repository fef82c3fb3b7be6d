"""The columns of a message's lines: their names, how long they are, and what the numbers in them stand for."""

from collections.abc import Sequence
from operator import attrgetter

from gputally.accounting.states import Basis, Reason, Source
from gputally.proto import telemetry_pb2 as pb

STATES = ("used_us", "idle_us", "unallocated_us", "unavailable_us", "unobserved_us")
TIMES = (*STATES, "burst_us", "intruder_us", "held_us")
AMOUNTS = (*TIMES, "energy_idle_mj", "energy_dynamic_mj", "memory_byte_s_plus_one")
QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
COLUMNS = ("device", "partition", "owner", "basis", "reason", "source", *AMOUNTS, *QUALITY, "energy_unknown")

# A number in a column is a place here.
BASES = (Basis.NONE, Basis.RESERVATION, Basis.PROCESS)
REASONS = tuple(Reason)
SOURCES = (Source.NONE, *(source for source in Source if source is not Source.NONE))

_all = attrgetter(*COLUMNS)


def columns(lines: pb.Lines) -> tuple[Sequence[int], ...]:
    """The columns, in the order of `COLUMNS`; one that was left out is empty, and stands for zeros.

    Raises ValueError where one has another length than it says. Two lines differ in some column, so a count without any
    is no small message's right to a lot of memory.
    """
    found: tuple[Sequence[int], ...] = _all(lines)
    for name, column in zip(COLUMNS, found, strict=True):
        if column and len(column) != lines.count:
            raise ValueError(f"column {name} has {len(column)} values for {lines.count} lines")
    if lines.count > 1 and not any(found):
        raise ValueError(f"{lines.count} lines without a column")
    return found
