"""Whether a window can enter a ledger at all: its columns are looked through at once, and nearly all are sound.

`is_sound` says no wherever a rule of `rules` or `accounting.invariants` could be broken; only then is the
window read line by line, for the verdict and its words.
"""

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from functools import lru_cache
from itertools import chain
from math import lcm
from weakref import WeakKeyDictionary

from gputally.accounting.line import Window
from gputally.collector.ingest.admission import Received, Refusal, RefusalReason
from gputally.collector.ingest.columns import Amounts, Lines, WindowColumns
from gputally.collector.ingest.layout import Holder, Layout
from gputally.collector.ingest.rules import (
    MAX_AMOUNT,
    MAX_BUSY,
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
_verdicts: WeakKeyDictionary[Layout, bool] = WeakKeyDictionary()


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
        not wrong_time(window.start_us, window.end_us, zone)
        and bool(window.cluster and window.node)
        and _texts_fit((window.cluster, window.node, received.agent_id, received.boot_id))
        and max(received.sequence, window.skipped_us, window.waited_us) <= MAX_INT
        and _is_sound_layout(window.layout)
        and _memos_fit(window)
        and _devices_agree(window)
        and _quality_fits(window.lines)
    )


def _is_sound_layout(layout: Layout) -> bool:
    """Asked once of a layout: most windows have that of the one before. Nothing is kept of those that are gone."""
    known = _verdicts.get(layout)
    if known is None:
        known = _verdicts[layout] = _holds(layout)
    return known


def _holds(layout: Layout) -> bool:
    return (
        _is_small(layout)
        and _texts_fit(_texts(layout))
        and min((int(owner[_FIRST_SEEN]) for owner in layout.owners), default=0) >= 0
        and _keys_differ(layout)
        and all(map(_edges_fit, layout.start_holders, layout.end_holders))
    )


def _is_small(layout: Layout) -> bool:
    edges = sum(map(len, chain(layout.start_holders, layout.end_holders)))
    return len(layout.uuids) <= MAX_DEVICES and max(len(layout.device), edges) <= MAX_LINES


def _texts(layout: Layout) -> list[str]:
    texts = ["", *layout.partitions, *layout.profiles, *layout.uuids, *layout.models]
    if layout.owners:
        _, namespaces, pods, containers, uids, _, users, units = zip(*layout.owners, strict=True)
        texts += (*namespaces, *pods, *containers, *uids, *users, *units)
    return texts


def _texts_fit(texts: Sequence[str]) -> bool:
    together = "".join(texts)
    longest = max(map(len, texts) if together.isascii() else (len(text.encode()) for text in texts))
    return longest <= MAX_TEXT_BYTES and "\0" not in together


def _keys_differ(layout: Layout) -> bool:
    """Whether no device has two lines of one key, and each place in the tables is somebody else's."""
    keys = set(zip(layout.device, layout.partition, layout.owner, layout.basis, layout.reason, strict=True))
    tables: Iterable[Sequence[object]] = (layout.owners, layout.partitions, layout.uuids)
    return len(keys) == len(layout.device) and all(len(set(table)) == len(table) for table in tables)


def _memos_fit(window: WindowColumns) -> bool:
    """Whether no line's memos are too much. Its states cannot be, where they sum to the capacity of a device."""
    burst, intruder, held = window.lines.times[len(STATES) :]
    length_us = window.end_us - window.start_us
    busiest_us = max(max(burst, default=0), max(intruder, default=0))
    return busiest_us <= MAX_BUSY * length_us and max(held, default=0) <= length_us and _memory_fits(window)


def _memory_fits(window: WindowColumns) -> bool:
    """Of no device too much: nearly always not even of all of them."""
    memory = [amount or 0 for amount in window.lines.memory_byte_s]
    return sum(memory) <= MAX_AMOUNT or max(window.by_device(memory)) <= MAX_AMOUNT


def _devices_agree(window: WindowColumns) -> bool:
    """Whether lines sum to what their devices say (I1, I2), and the rest of a device can be."""
    if not window.devices:
        return True
    lines, length_us = window.lines, window.end_us - window.start_us
    _, _, capacities, starts_mj, ends_mj, _, breaks, _, _, _, idle_mw, ghosts = zip(*window.devices, strict=True)
    energy = zip(lines.energy_idle_mj, lines.energy_dynamic_mj, strict=True)
    energies = window.by_device([(idle_mj or 0) + (dynamic_mj or 0) for idle_mj, dynamic_mj in energy])
    return (
        window.by_device(lines.capacity_us()) == list(capacities)
        and max(capacities) <= length_us
        and max(energies) <= MAX_AMOUNT
        and max(_largest(starts_mj), _largest(ends_mj)) <= MAX_INT
        and max(breaks) < 2**31
        and max(_largest(idle_mw), max(ghosts)) <= MAX_AMOUNT
        and all(map(_counter_agrees, starts_mj, ends_mj, breaks, energies))
    )


def _largest(column: Amounts) -> int:
    return max(filter(None, column), default=0)


def _counter_agrees(start_mj: int | None, end_mj: int | None, breaks: int, energy_mj: int) -> bool:
    return start_mj is None or end_mj is None or breaks > 0 or energy_mj == end_mj - start_mj


def _edges_fit(start: tuple[Holder, ...], end: tuple[Holder, ...]) -> bool:
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


def _quality_fits(lines: Lines) -> bool:
    """Whether no figure says more than all of the line's time."""
    measured, *figures = lines.quality
    if not any(measured):
        return True
    of_lines = zip(lines.capacity_us(), measured, *figures, strict=True)
    return all(
        quality_us is None or max(line) <= quality_us <= capacity_us for capacity_us, quality_us, *line in of_lines
    )
