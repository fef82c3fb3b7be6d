"""Windows to and from the wire: the tables of owners and partitions, and the lines as packed columns."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

from gputally.accounting.keys import Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.proto import telemetry_pb2 as pb

_TIMES = (
    "used_us",
    "idle_us",
    "unallocated_us",
    "unavailable_us",
    "unobserved_us",
    "burst_us",
    "intruder_us",
    "held_us",
)
_QUALITY = ("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us")
_COLUMNS = (
    *("device", "partition", "owner", "basis", "reason", "source"),
    *_TIMES,
    *("energy_idle_mj", "energy_dynamic_mj", "memory_byte_s_plus_one"),
    *_QUALITY,
)
_BASES = (Basis.NONE, Basis.RESERVATION, Basis.PROCESS)
_REASONS = tuple(Reason)
_SOURCES = (Source.NONE, *(source for source in Source if source is not Source.NONE))
_Member = TypeVar("_Member", Basis, Reason, Source)


_NO_QUALITY = Quality(0)


class WireError(ValueError):
    """A window on the wire that cannot be read; the message says what is wrong with it."""


def encode(window: Window, agent_id: str, boot_id: str, sequence: int) -> bytes:
    """The window as a serialised `gputally.v1.Window`; the same window gives the same bytes."""
    message = pb.Window(
        agent_id=agent_id,
        boot_id=boot_id,
        sequence=sequence,
        cluster=window.cluster,
        node=window.node,
        start_us=window.start_us,
        end_us=window.end_us,
        skipped_us=window.skipped_us,
        waited_us=window.waited_us,
    )
    tables = _Tables()
    columns: dict[str, list[int]] = {name: [] for name in _COLUMNS}
    for index, device in enumerate(window.devices):
        for line in device.lines:
            columns["device"].append(index)
            _append(columns, line, tables)
        message.devices.append(_device(device, tables))
    message.owners.extend(_owner(owner) for owner in tables.owners)
    message.partitions.extend(tables.partitions)
    profiles = {partition: profile for device in window.devices for partition, profile in device.profiles.items()}
    if profiles:
        message.profiles.extend(profiles.get(partition, "") for partition in tables.partitions)
    message.lines.count = len(columns["device"])
    for name, values in columns.items():
        if any(values):
            getattr(message.lines, name).extend(values)
    return message.SerializeToString(deterministic=True)


class _Tables:
    """The window's tables while it is encoded: what was met, in that order."""

    def __init__(self) -> None:
        self.owners: dict[Owner, int] = {}
        self.partitions: dict[str, int] = {}

    def owner(self, owner: Owner) -> int:
        """Its place in the table."""
        return self.owners.setdefault(owner, len(self.owners))

    def partition(self, partition: str) -> int:
        """Its place in the table."""
        return self.partitions.setdefault(partition, len(self.partitions))


def _append(columns: dict[str, list[int]], line: Line, tables: _Tables) -> None:
    columns["partition"].append(tables.partition(line.key.partition))
    columns["owner"].append(tables.owner(line.key.owner))
    columns["basis"].append(_BASES.index(line.key.basis))
    columns["reason"].append(_REASONS.index(line.key.reason))
    columns["source"].append(_SOURCES.index(line.source))
    for name in _TIMES:
        columns[name].append(getattr(line, name))
    columns["energy_idle_mj"].append(line.energy_idle_mj or 0)
    columns["energy_dynamic_mj"].append(line.energy_dynamic_mj or 0)
    columns["memory_byte_s_plus_one"].append(0 if line.memory_byte_s is None else line.memory_byte_s + 1)
    quality = line.quality or _NO_QUALITY
    columns["quality_us"].append(quality.measured_us)
    for name in _QUALITY[1:]:
        columns[name].append(getattr(quality, name))


def _device(device: DeviceWindow, tables: _Tables) -> pb.Device:
    return pb.Device(
        uuid=device.uuid,
        model=device.model,
        capacity_us=device.capacity_us,
        energy_start_mj=device.energy_start_mj,
        energy_end_mj=device.energy_end_mj,
        energy_estimated=device.energy_estimated,
        energy_breaks=device.energy_breaks,
        energy_known=any(line.energy_mj is not None for line in device.lines),
        idle_energy_known=any(line.energy_idle_mj is not None for line in device.lines),
        start_holders=[_holder(holding, tables) for holding in device.start_holders],
        end_holders=[_holder(holding, tables) for holding in device.end_holders],
        unavailable_at_end=device.unavailable_at_end,
        idle_power_mw=device.idle_power_mw,
        ghost_memory_byte_s=device.ghost_memory_byte_s,
    )


def _holder(holding: Holding, tables: _Tables) -> pb.Holder:
    return pb.Holder(
        owner=tables.owner(holding.owner),
        partition=tables.partition(holding.partition),
        share_numerator=holding.share.numerator,
        share_denominator=holding.share.denominator,
    )


def _owner(owner: Owner) -> pb.Owner:
    return pb.Owner(
        kind=owner.kind.value,
        namespace=owner.namespace,
        pod=owner.pod,
        container=owner.container,
        pod_uid=owner.pod_uid,
        first_seen_us=owner.first_seen_us,
        user=owner.user,
        unit=owner.unit,
    )


def decode(message: pb.Window) -> Window:
    """The window that a message carries; raises WireError where it contradicts itself."""
    lines: list[list[Line]] = [[] for _ in message.devices]
    try:
        owners = [_read_owner(owner) for owner in message.owners]
        columns = _columns(message.lines)
        for row in range(message.lines.count):
            device = columns["device"][row]
            lines[device].append(_line(message, owners, columns, row))
        profiles = _read_profiles(message)
        devices = tuple(
            _read_device(device, tuple(rows), message, owners, profiles)
            for device, rows in zip(message.devices, lines, strict=True)
        )
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise WireError(f"window {message.sequence} of {message.node}: {error}") from error
    return Window(
        message.cluster,
        message.node,
        message.start_us,
        message.end_us,
        devices,
        message.skipped_us,
        message.waited_us,
    )


def _columns(lines: pb.Lines) -> dict[str, list[int]]:
    """The columns at full length. Two lines differ in some column, so a count without any is no small message's right
    to a lot of memory."""
    columns = {name: list(getattr(lines, name)) for name in _COLUMNS}
    for name, column in columns.items():
        if column and len(column) != lines.count:
            raise ValueError(f"column {name} has {len(column)} values for {lines.count} lines")
    if lines.count > 1 and not any(columns.values()):
        raise ValueError(f"{lines.count} lines without a column")
    zeros = [0] * lines.count
    return {name: column or zeros for name, column in columns.items()}


def _enum(members: Sequence[_Member], number: int) -> _Member:
    """The member with this number; an open enum may carry any, negative ones too."""
    if not 0 <= number < len(members):
        raise ValueError(f"{number} is no number of a {type(members[0]).__name__}")
    return members[number]


def _line(message: pb.Window, owners: list[Owner], columns: dict[str, list[int]], row: int) -> Line:
    device = message.devices[columns["device"][row]]
    key = LineKey(
        message.partitions[columns["partition"][row]],
        owners[columns["owner"][row]],
        _enum(_BASES, columns["basis"][row]),
        _enum(_REASONS, columns["reason"][row]),
    )
    times = {name: columns[name][row] for name in _TIMES}
    return Line(
        key,
        _enum(_SOURCES, columns["source"][row]),
        energy_idle_mj=columns["energy_idle_mj"][row] if device.idle_energy_known else None,
        energy_dynamic_mj=columns["energy_dynamic_mj"][row] if device.energy_known else None,
        memory_byte_s=columns["memory_byte_s_plus_one"][row] - 1 if columns["memory_byte_s_plus_one"][row] else None,
        quality=Quality(*(columns[name][row] for name in _QUALITY)) if columns["quality_us"][row] else None,
        **times,
    )


def _read_profiles(message: pb.Window) -> dict[str, str]:
    if message.profiles and len(message.profiles) != len(message.partitions):
        raise ValueError(f"{len(message.profiles)} profiles for {len(message.partitions)} partitions")
    return {
        partition: profile for partition, profile in zip(message.partitions, message.profiles, strict=False) if profile
    }


def _read_holders(holders: Iterable[pb.Holder], message: pb.Window, owners: list[Owner]) -> tuple[Holding, ...]:
    return tuple(
        Holding(
            owners[holder.owner],
            message.partitions[holder.partition],
            Fraction(holder.share_numerator, holder.share_denominator),
        )
        for holder in holders
    )


def _read_owner(owner: pb.Owner) -> Owner:
    return Owner(
        OwnerKind(owner.kind),
        owner.namespace,
        owner.pod,
        owner.container,
        owner.pod_uid,
        owner.first_seen_us,
        owner.user,
        owner.unit,
    )


def _read_device(
    device: pb.Device, lines: tuple[Line, ...], message: pb.Window, owners: list[Owner], profiles: dict[str, str]
) -> DeviceWindow:
    start, end = (_read_holders(edge, message, owners) for edge in (device.start_holders, device.end_holders))
    partitions = {line.key.partition for line in lines} | {holding.partition for holding in (*start, *end)}
    return DeviceWindow(
        device.uuid,
        device.model,
        device.capacity_us,
        lines,
        device.energy_start_mj if device.HasField("energy_start_mj") else None,
        device.energy_end_mj if device.HasField("energy_end_mj") else None,
        device.energy_estimated,
        device.energy_breaks,
        start,
        end,
        device.unavailable_at_end,
        device.idle_power_mw if device.HasField("idle_power_mw") else None,
        {partition: profiles[partition] for partition in sorted(partitions & profiles.keys())},
        device.ghost_memory_byte_s,
    )
