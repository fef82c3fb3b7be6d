"""Windows to and from the wire: the tables of owners and partitions, and the lines as packed columns."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import TypeVar

from gputally.accounting.keys import Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Quality, Window
from gputally.accounting.states import Basis, OwnerKind, Reason, Source
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.columns import BASES, COLUMNS, QUALITY, REASONS, SOURCES, TIMES, columns

_times = attrgetter(*TIMES)
_figures = attrgetter("measured_us", *QUALITY[1:])
_BASIS_NUMBERS = {basis: number for number, basis in enumerate(BASES)}
_REASON_NUMBERS = {reason: number for number, reason in enumerate(REASONS)}
_SOURCE_NUMBERS = {source: number for number, source in enumerate(SOURCES)}
_UUID_BYTES = 16
_NO_QUALITY = (0,) * len(QUALITY)
_Member = TypeVar("_Member", Basis, Reason, Source)


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
    rows = []
    for index, device in enumerate(window.devices):
        message.devices.append(_device(device, tables))
        if index and device.model == window.devices[index - 1].model:
            message.devices[index].model, message.devices[index].model_stays = "", True
        metered = any(line.energy_dynamic_mj is not None for line in device.lines)
        rows += [_row(index, line, tables, metered=metered) for line in device.lines]
    message.owners.extend(_owner(owner) for owner in tables.owners)
    message.partitions.extend(tables.partitions)
    profiles = {partition: profile for device in window.devices for partition, profile in device.profiles.items()}
    if profiles:
        message.profiles.extend(profiles.get(partition, "") for partition in tables.partitions)
    message.lines.count = len(rows)
    for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=bool(rows)):
        if any(column):
            getattr(message.lines, name).extend(column)
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


def _row(device: int, line: Line, tables: _Tables, *, metered: bool) -> tuple[int, ...]:
    """A line as the values of `COLUMNS`; `metered`: some line of its device has a known energy."""
    key, dynamic_mj, memory = line.key, line.energy_dynamic_mj, line.memory_byte_s
    return (
        device,
        tables.partition(key.partition),
        tables.owner(key.owner),
        _BASIS_NUMBERS[key.basis],
        _REASON_NUMBERS[key.reason],
        _SOURCE_NUMBERS[line.source],
        *_times(line),
        line.energy_idle_mj or 0,
        dynamic_mj or 0,
        0 if memory is None else memory + 1,
        *(_figures(line.quality) if line.quality else _NO_QUALITY),
        int(metered and dynamic_mj is None),
    )


def _device(device: DeviceWindow, tables: _Tables) -> pb.Device:
    stays = device.start_holders == device.end_holders
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
        end_holders=[] if stays else [_holder(holding, tables) for holding in device.end_holders],
        holders_stay=stays and bool(device.start_holders),
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
    uid = uuid_bytes(owner.pod_uid)
    return pb.Owner(
        kind=owner.kind.value,
        namespace=owner.namespace,
        pod=owner.pod,
        container=owner.container,
        pod_uid="" if uid else owner.pod_uid,
        pod_uid_bytes=uid,
        first_seen_us=owner.first_seen_us,
        user=owner.user,
        unit=owner.unit,
    )


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID as Kubernetes writes it; b"" for any other text."""
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return b""
    return raw if len(raw) == _UUID_BYTES and uuid_text(raw) == text else b""


def uuid_text(raw: bytes) -> str:
    """The text of 16 bytes; raises ValueError for another number of them."""
    if len(raw) != _UUID_BYTES:
        raise ValueError(f"a UUID of {len(raw)} bytes")
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def decode(message: pb.Window) -> Window:
    """The window that a message carries; raises WireError where it contradicts itself."""
    lines: list[list[Line]] = [[] for _ in message.devices]
    try:
        owners = [_read_owner(owner) for owner in message.owners]
        read = _LineReader(message, owners)
        found = columns(message.lines)
        zeros = (0,) * message.lines.count
        for device, *row in zip(*(column or zeros for column in found), strict=True):
            lines[device].append(read.line(device, row))
        profiles = _read_profiles(message)
        devices = tuple(
            _read_device(device, model, tuple(rows), message, owners, profiles)
            for device, model, rows in zip(message.devices, models(message), lines, strict=True)
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


def _enum(members: Sequence[_Member], number: int) -> _Member:
    """The member with this number; an open enum may carry any, negative ones too."""
    if not 0 <= number < len(members):
        raise ValueError(f"{number} is no number of a {type(members[0]).__name__}")
    return members[number]


class _LineReader:
    """Reads the rows of one window; a key that stands in several is made once."""

    def __init__(self, message: pb.Window, owners: Sequence[Owner]) -> None:
        self._partitions = list(message.partitions)
        self._owners = owners
        self._known = [(device.idle_energy_known, device.energy_known) for device in message.devices]
        self._keys: dict[tuple[int, ...], LineKey] = {}

    def line(self, device: int, row: Sequence[int]) -> Line:
        """The line of a row, which is `COLUMNS` without the device."""
        partition, owner, basis, reason, source, used, idle, unallocated, unavailable, unobserved, *row = row
        burst, intruder, held, idle_mj, dynamic_mj, memory, *figures, unmetered = row
        idle_known, known = (False, False) if unmetered else self._known[device]
        return Line(
            self._key(partition, owner, basis, reason),
            _enum(SOURCES, source),
            used,
            idle,
            unallocated,
            unavailable,
            unobserved,
            burst,
            intruder,
            held,
            idle_mj if idle_known else None,
            dynamic_mj if known else None,
            memory - 1 if memory else None,
            Quality(*figures) if figures[0] else None,
        )

    def _key(self, *places: int) -> LineKey:
        key = self._keys.get(places)
        if key is None:
            partition, owner, basis, reason = places
            key = LineKey(self._partitions[partition], self._owners[owner], _enum(BASES, basis), _enum(REASONS, reason))
            self._keys[places] = key
        return key


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
            _share(holder.share_numerator, holder.share_denominator),
        )
        for holder in holders
    )


@lru_cache(1024)  # a fleet has a few dozen, and to make one takes longer than to read the rest of a holder
def _share(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator)


def _read_owner(owner: pb.Owner) -> Owner:
    return Owner(
        OwnerKind(owner.kind),
        owner.namespace,
        owner.pod,
        owner.container,
        pod_uid(owner),
        owner.first_seen_us,
        owner.user,
        owner.unit,
    )


def pod_uid(owner: pb.Owner) -> str:
    """Its UID, which may come as bytes; raises ValueError for what is no UUID, and where it comes twice."""
    raw, text = owner.pod_uid_bytes, owner.pod_uid
    if raw and text:
        raise ValueError("a UID as text and as bytes")
    return uuid_text(raw) if raw else text


def holders_stay(device: pb.Device) -> bool:
    """Whether nobody came or went; raises ValueError where it says so and names who holds at the end."""
    if device.holders_stay and device.end_holders:
        raise ValueError("holders that stay, and holders at the end")
    return device.holders_stay or device.start_holders == device.end_holders


def models(message: pb.Window) -> list[str]:
    """Each device's model; raises IndexError where the first one's is said to be that of the device before, and
    ValueError where one says so and names a model."""
    found: list[str] = []
    for device in message.devices:
        if device.model_stays and device.model:
            raise ValueError("a model that stays, and a model")
        found.append(found[-1] if device.model_stays else device.model)
    return found


def _read_device(
    device: pb.Device,
    model: str,
    lines: tuple[Line, ...],
    message: pb.Window,
    owners: list[Owner],
    profiles: dict[str, str],
) -> DeviceWindow:
    start = _read_holders(device.start_holders, message, owners)
    # Mostly nobody came or went: then both edges are one tuple, which others need to look at once only.
    stays = holders_stay(device)
    end = start if stays else _read_holders(device.end_holders, message, owners)
    partitions = {line.key.partition for line in lines} | {holding.partition for holding in (*start, *end)}
    return DeviceWindow(
        device.uuid,
        model,
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
