"""A window as it lies on the wire, tables and columns: the collector makes rows of it, and no object of any line."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import add, attrgetter
from typing import NamedTuple, TypeAlias

from gputally.collector.ingest.identities import Key
from gputally.collector.ingest.layout import PLACES, Holder, Layout, layout_of
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.columns import AMOUNTS, QUALITY, STATES, TIMES, columns

Amounts: TypeAlias = Sequence[int | None]

# What may be another number in each window of a layout.
_TIME = ("sequence", "start_us", "end_us", "skipped_us", "waited_us")
_COUNTERS = (
    "capacity_us",
    "energy_start_mj",
    "energy_end_mj",
    "energy_breaks",
    "idle_power_mw",
    "ghost_memory_byte_s",
)
_MAY_BE_ABSENT = tuple(_COUNTERS.index(name) for name in ("energy_start_mj", "energy_end_mj", "idle_power_mw"))
_IN_LINES = (*AMOUNTS, *QUALITY)
_LINE_BYTES = 8  # columns of zeros are left out of a message, and not of its layout
_MOST_BYTES = 24 << 20  # of a fleet's 10,000 nodes, 2 KiB each
_place = attrgetter("cluster", "node", *_TIME[1:])
_counters = attrgetter(*_COUNTERS)


class Device(NamedTuple):
    """What a window says of a device beside its lines; as in `accounting.line.DeviceWindow`."""

    uuid: str
    model: str
    capacity_us: int
    energy_start_mj: int | None
    energy_end_mj: int | None
    energy_estimated: bool
    energy_breaks: int
    start_holders: tuple[Holder, ...]
    end_holders: tuple[Holder, ...]  # the same object where nobody came or went
    unavailable_at_end: bool
    idle_power_mw: int | None
    ghost_memory_byte_s: int

    @property
    def key(self) -> Key:
        """What tells devices apart: the UUID, and the model for the case that a UUID comes twice."""
        return (self.uuid, self.model)


class Lines(NamedTuple):
    """The amounts of the lines, those of the first device first: each column has one value for each. None is unknown,
    which is not 0. `times` and `quality` are columns in the order of `proto.columns`."""

    times: Sequence[Sequence[int]]
    energy_idle_mj: Amounts
    energy_dynamic_mj: Amounts
    memory_byte_s: Amounts
    quality: Sequence[Amounts]

    def capacity_us(self) -> Sequence[int]:
        """Each line's part of its device's capacity: the sum of its states."""
        total, *others = self.times[: len(STATES)]
        for column in filter(any, others):
            total = list(map(add, total, column))
        return total


_NO_LAYOUT = Layout()
_NO_LINES = Lines(((),) * len(TIMES), (), (), (), ((),) * len(QUALITY))


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """A window; as in `accounting.line.Window`. What it has of its own, beside its layout."""

    cluster: str
    node: str
    start_us: int
    end_us: int
    skipped_us: int = 0
    waited_us: int = 0
    layout: Layout = _NO_LAYOUT
    devices: Sequence[Device] = ()
    lines: Lines = _NO_LINES

    def by_device(self, amounts: Iterable[int]) -> list[int]:
        """A column's sum for each device."""
        sums = [0] * len(self.devices)
        for device, amount in zip(self.layout.device, amounts, strict=True):
            sums[device] += amount
        return sums

    def conservation_error_us(self) -> int:
        """The sum over devices of |states - capacity|, microseconds; must be 0 (I1)."""
        states = self.by_device(self.lines.capacity_us())
        return sum(abs(us - device.capacity_us) for us, device in zip(states, self.devices, strict=True))


def head(message: pb.Window) -> WindowColumns:
    """What a message says of its window's place, whatever else is in it."""
    return WindowColumns(message.cluster, message.node, message.start_us, message.end_us)


class Layouts:
    """The layouts that windows had lately: of most windows only the amounts are new.

    A layout is known by all bytes of its window but those of time and amounts: whatever else differs makes another one.
    At most `size` are remembered, of at most `most_bytes` of such bytes (and 8 a line) together: some ten times as much
    memory. Those of nodes that change are many, and what anybody may send is large.
    """

    def __init__(self, size: int, most_bytes: int = _MOST_BYTES) -> None:
        self._size = size
        self._most_bytes = most_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, tuple[Layout, int]] = OrderedDict()

    def read(self, content: bytes) -> WindowColumns:
        """The window of a serialised message; raises WireError where it contradicts itself, as `codec.decode` does."""
        message = pb.Window.FromString(content)
        try:
            found = columns(message.lines)
            return _take(message, found).window(self._layout(message, found))
        except (IndexError, ValueError, ZeroDivisionError) as error:
            whole = pb.Window.FromString(content)
            codec.decode(whole)  # has the words for it
            raise codec.WireError(f"window {whole.sequence} of {whole.node}: {error}") from error

    def _layout(self, message: pb.Window, found: Sequence[Sequence[int]]) -> Layout:
        """The layout of a message without amounts."""
        content = message.SerializeToString(deterministic=True)
        key = sha256(content).digest()
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key][0]
        layout = layout_of(message, found)
        self._remember(key, layout, len(content) + _LINE_BYTES * message.lines.count)
        return layout

    def _remember(self, key: bytes, layout: Layout, size_bytes: int) -> None:
        if not self._size or size_bytes > self._most_bytes:
            return
        self._known[key] = layout, size_bytes
        self._bytes += size_bytes
        while len(self._known) > self._size or self._bytes > self._most_bytes:
            _, (_, dropped_bytes) = self._known.popitem(last=False)
            self._bytes -= dropped_bytes


NO_LAYOUTS = Layouts(0)  # remembers none


def read(message: pb.Window) -> WindowColumns:
    """The window that a message carries; raises WireError where it contradicts itself, as `codec.decode` does."""
    return NO_LAYOUTS.read(message.SerializeToString())


class _Taken(NamedTuple):
    """What was taken out of a message."""

    place: tuple[str, str, int, int, int, int]  # the first fields of a window
    counters: Sequence[Sequence[int | None]]  # a column for each, with a value for each device
    amounts: Sequence[Sequence[int]]  # in the order of the message

    def window(self, layout: Layout) -> WindowColumns:
        """The window of this layout."""
        devices = map(
            Device,
            layout.uuids,
            layout.models,
            *self.counters[:3],
            layout.estimated,
            self.counters[3],
            layout.start_holders,
            layout.end_holders,
            layout.unavailable,
            *self.counters[4:],
        )
        return WindowColumns(*self.place, layout, list(devices), _lines(self.amounts, layout))


def _take(message: pb.Window, found: Sequence[Sequence[int]]) -> _Taken:
    """Time, counters and amounts, which the message does not have afterwards."""
    zeros = (0,) * message.lines.count
    amounts = [column[:] if column else zeros for column in found[len(PLACES) : -1]]
    taken = _Taken(_place(message), _device_counters(message), amounts)
    for name in _TIME:
        message.ClearField(name)
    for device in message.devices:
        for name in _COUNTERS:
            device.ClearField(name)
    lines = message.lines
    for name in _IN_LINES:
        lines.ClearField(name)
    return taken


def _device_counters(message: pb.Window) -> Sequence[Sequence[int | None]]:
    rows = map(_counters, message.devices)
    found: list[Sequence[int | None]] = list(zip(*rows, strict=True)) or [()] * len(_COUNTERS)
    for place in _MAY_BE_ABSENT:
        if not all(found[place]):  # to ask whether a field is there takes longer than to read it
            name = _COUNTERS[place]
            found[place] = [
                value if value or device.HasField(name) else None
                for value, device in zip(found[place], message.devices, strict=True)
            ]
    return found


def _lines(amounts: Sequence[Sequence[int]], layout: Layout) -> Lines:
    if layout.order:
        amounts = [[column[at] for at in layout.order] for column in amounts]
    *times, idle_mj, dynamic_mj, memory, quality_us, sm, occupancy, tensor, dram = amounts
    return Lines(
        times,
        _shown(idle_mj, layout.hides_idle),
        _shown(dynamic_mj, layout.hides_dynamic),
        [amount - 1 if amount else None for amount in memory],
        _measured(quality_us, (quality_us, sm, occupancy, tensor, dram)),
    )


def _shown(amounts: Sequence[int], hidden: Sequence[bool] | None) -> Amounts:
    if not hidden:
        return amounts
    return [None if hides else amount for amount, hides in zip(amounts, hidden, strict=True)]


def _measured(quality_us: Sequence[int], figures: Sequence[Sequence[int]]) -> Sequence[Amounts]:
    """The figures of quality, None on lines of which nothing was measured."""
    if not any(quality_us):
        return ((None,) * len(quality_us),) * len(figures)
    return [
        [figure if measured_us else None for figure, measured_us in zip(column, quality_us, strict=True)]
        for column in figures
    ]
