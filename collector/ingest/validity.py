"""Whether a window can enter a ledger at all: its columns are looked through at once, and nearly all are sound.

`is_sound` says no wherever a rule of `rules` or `accounting.invariants` could be broken; only then is the
window read line by line, for the verdict and its words.
"""

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from functools import lru_cache
from itertools import chain
from math import lcm

from gputally.accounting.line import Window
from gputally.collector.ingest.admission import Received, Refusal, RefusalReason
from gputally.collector.ingest.columns import Amounts, Device, Holder, WindowColumns
from gputally.collector.ingest.rules import (
    MAX_AMOUNT,
    MAX_DENOMINATORS,
    MAX_DEVICES,
    MAX_INT,
    MAX_LINES,
    MAX_TEXT_BYTES,
    fault,
    wrong_time,
)
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb
from gputally.proto.columns import STATES

_FIRST_SEEN = 5  # its place among an owner's columns
_FEW = 8  # holders of one device


def invalidity(received: Received, zone: tzinfo) -> Refusal | None:
    """Why this window can never enter a ledger of this billing time zone, whatever is in it; None: it can."""
    if is_sound(received, zone):
        return None
    found = fault(received, _decoded(received), zone)
    return Refusal(RefusalReason.INVALID, found) if found else None


def _decoded(received: Received) -> Window:
    window = received.window
    if window.devices:
        return codec.decode(pb.Window.FromString(received.message))
    times = (window.start_us, window.end_us, (), window.skipped_us, window.waited_us)
    return Window(window.cluster, window.node, *times)


def is_sound(received: Received, zone: tzinfo) -> bool:
    """Whether there is certainly nothing wrong with a window. What the wire has no sign for, is not negative."""
    window = received.window
    return (
        _is_small(window)
        and not wrong_time(window.start_us, window.end_us, zone)
        and bool(window.cluster and window.node)
        and _texts_fit(_texts(received))
        and max(received.sequence, window.skipped_us, window.waited_us) <= MAX_INT
        and min((int(owner[_FIRST_SEEN]) for owner in window.owners), default=0) >= 0
        and _lines_fit(window)
        and _keys_differ(window)
        and _devices_agree(window)
        and _quality_fits(window)
    )


def _is_small(window: WindowColumns) -> bool:
    edges = sum(len(device.start_holders) + len(device.end_holders) for device in window.devices)
    return len(window.devices) <= MAX_DEVICES and max(len(window.lines.device), edges) <= MAX_LINES


def _texts(received: Received) -> list[str]:
    window = received.window
    texts = [window.cluster, window.node, received.agent_id, received.boot_id, *window.partitions, *window.profiles]
    texts += chain.from_iterable((device.uuid, device.model) for device in window.devices)
    if window.owners:
        _, namespaces, pods, containers, uids, _, users, units = zip(*window.owners, strict=True)
        texts += (*namespaces, *pods, *containers, *uids, *users, *units)
    return texts


def _texts_fit(texts: Sequence[str]) -> bool:
    together = "".join(texts)
    longest = max(map(len, texts) if together.isascii() else (len(text.encode()) for text in texts))
    return longest <= MAX_TEXT_BYTES and "\0" not in together


def _lines_fit(window: WindowColumns) -> bool:
    """Whether no line holds too much. Its states cannot, where they sum to the capacity of a device."""
    lines = window.lines
    columns: Sequence[Amounts] = (
        *lines.times[len(STATES) :],
        lines.energy_idle_mj,
        lines.energy_dynamic_mj,
        lines.memory_byte_s,
    )
    return all(max(filter(None, column), default=0) <= MAX_AMOUNT for column in columns)


def _keys_differ(window: WindowColumns) -> bool:
    """Whether no device has two lines of one key, and each place in the tables is somebody else's."""
    lines = window.lines
    keys = set(zip(lines.device, lines.partition, lines.owner, lines.basis, lines.reason, strict=True))
    tables: Iterable[Sequence[object]] = (window.owners, window.partitions)
    return len(keys) == len(lines.device) and all(len(set(table)) == len(table) for table in tables)


def _devices_agree(window: WindowColumns) -> bool:
    """Whether lines sum to what their devices say (I1, I2), and the rest of a device can be."""
    lines, length_us = window.lines, window.end_us - window.start_us
    states = window.by_device(lines.capacity_us())
    energy = zip(lines.energy_idle_mj, lines.energy_dynamic_mj, strict=True)
    energies = window.by_device([(idle_mj or 0) + (dynamic_mj or 0) for idle_mj, dynamic_mj in energy])
    return len({device.uuid for device in window.devices}) == len(window.devices) and all(
        us == device.capacity_us <= length_us and _counter_agrees(device, mj) and _edges_fit(device)
        for device, us, mj in zip(window.devices, states, energies, strict=True)
    )


def _counter_agrees(device: Device, energy_mj: int) -> bool:
    start_mj, end_mj = device.energy_start_mj, device.energy_end_mj
    if max(start_mj or 0, end_mj or 0) > MAX_INT or device.energy_breaks >= 2**31:
        return False
    return start_mj is None or end_mj is None or bool(device.energy_breaks) or energy_mj == end_mj - start_mj


def _edges_fit(device: Device) -> bool:
    start, end = device.start_holders, device.end_holders
    if max(device.ghost_memory_byte_s, device.idle_power_mw or 0) > MAX_AMOUNT:
        return False
    return _fits_a_device(start) and (end is start or _fits_a_device(end))


def _fits_a_device(holders: tuple[Holder, ...]) -> bool:
    """As `_are_within_a_device`, which remembers the few holders of most devices: they are places in tables, so that
    nodes that are shared in one way have the same."""
    return _known_to_fit(holders) if len(holders) <= _FEW else _are_within_a_device(holders)


@lru_cache(4096)
def _known_to_fit(holders: tuple[Holder, ...]) -> bool:
    return _are_within_a_device(holders)


def _are_within_a_device(holders: Sequence[Holder]) -> bool:
    """Whether each holds a part, each another one, and all together no more than the whole."""
    denominators = {holder[3] for holder in holders}
    if not denominators or len(denominators) > MAX_DENOMINATORS:
        return not denominators
    whole = lcm(*denominators)
    parts = [numerator * (whole // denominator) for _, _, numerator, denominator in holders]
    are_different = len({holder[:2] for holder in holders}) == len(holders)
    return are_different and min(parts) > 0 and sum(parts) <= whole and max(denominators) <= MAX_INT


def _quality_fits(window: WindowColumns) -> bool:
    """Whether no figure says more than all of the line's time."""
    measured, *figures = window.lines.quality
    if not any(measured):
        return True
    of_lines = zip(window.lines.capacity_us(), measured, *figures, strict=True)
    return all(
        quality_us is None or max(line) <= quality_us <= capacity_us for capacity_us, quality_us, *line in of_lines
    )
