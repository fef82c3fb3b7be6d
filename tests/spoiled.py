"""Messages of agents that are not ours, or not well: good windows after a few edits of any of their fields."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st
from tests.windows import device, histories, pod, reserved, unallocated, window

from gputally.accounting.keys import Holding
from gputally.accounting.line import Window
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

_NUMBERS = [0, 1, 2, 3, 7, 60_000_000, 10**14, 10**14 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, -1]
_TEXTS = ["", "a", "pod", "host", "alien", "gpu", "MIG-1", "1g.10gb", "GPU-0", "a\0b", "x" * 256, "x" * 257, "語" * 86]
_Field = tuple[Message, FieldDescriptor]


def shared() -> Window:
    """A window with edges of several holders, who come and go, and a device that has nothing else."""
    train, serve = pod(), pod("vision", "serve-1")
    lines = (reserved(train, 40_000_000, 5_000_000, energy_mj=9), reserved(serve, 9_000_000, 6_000_000, energy_mj=4))
    start = (Holding(train, "MIG-1", Fraction(1, 7)), Holding(serve, "MIG-3", Fraction(3, 7)))
    end = (*start, Holding(serve, "gpu", Fraction(1, 4)))
    profiles = {"MIG-1": "1g.10gb", "MIG-3": "3g.40gb"}
    part = replace(device(*lines), start_holders=start, end_holders=end, profiles=profiles)
    rest = replace(device(unallocated(60_000_000), uuid="GPU-1"), idle_power_mw=70_000, ghost_memory_byte_s=5)
    return window(part, rest)


@st.composite
def messages(draw: st.DrawFn, edits: int = 3) -> pb.Window:
    """A window as it may come in."""
    content = draw(st.just(shared()) | histories(most=2).map(lambda windows: windows[-1]))
    message = pb.Window.FromString(codec.encode(content, "agent", "boot", 1))
    if draw(st.booleans()):
        _shuffle(draw, message.lines)
    for _ in range(draw(st.integers(0, edits))):
        _edit(draw, *draw(st.sampled_from(list(_fields(message)))))
    return message


def _fields(message: Message) -> Iterator[_Field]:
    """Every field of a message and of those in it."""
    for field in message.DESCRIPTOR.fields:
        yield message, field
        if field.message_type:
            inner = getattr(message, field.name)
            for part in inner if field.is_repeated else (inner,):
                yield from _fields(part)


def _shuffle(draw: st.DrawFn, lines: pb.Lines) -> None:
    order = draw(st.permutations(range(lines.count)))
    for field, column in lines.ListFields():
        if field.is_repeated:
            column[:] = [column[at] for at in order]


def _edit(draw: st.DrawFn, message: Message, field: FieldDescriptor) -> None:
    """Change a field, or one of its values; what the wire cannot say is not said."""
    value = getattr(message, field.name)
    if field.is_repeated:
        _edit_table(draw, field, value)
    elif field.message_type:
        message.ClearField(field.name)
    else:
        try:
            setattr(message, field.name, _other(draw, value))
        except ValueError:
            message.ClearField(field.name)


def _edit_table(draw: st.DrawFn, field: FieldDescriptor, table: object) -> None:
    at = draw(st.integers(0, len(table)))
    kind = draw(st.sampled_from(["change", "change", "drop", "double"]))
    if kind == "drop" or at == len(table):
        del table[at:]
    elif kind == "double":
        table.append(table[at])
    elif not field.message_type:
        try:
            table[at] = _other(draw, table[at])
        except ValueError:
            del table[at]


def _other(draw: st.DrawFn, value: str | bytes | int | bool) -> str | bytes | int | bool:
    if isinstance(value, bytes):
        return draw(st.sampled_from([b"", b"\0" * 15, b"\0" * 16, b"\0" * 17]))
    if isinstance(value, str):
        return draw(st.sampled_from(_TEXTS))
    if isinstance(value, bool):
        return not value
    return draw(st.sampled_from([*_NUMBERS, value + 1, value - 1, value + 5]))
