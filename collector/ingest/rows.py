"""Accepted windows as rows of the tables, in the order of their columns."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, repeat
from typing import NamedTuple, TypeAlias

from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.ingest.columns import WindowColumns
from gputally.collector.ingest.identities import Key
from gputally.collector.ingest.layout import Holder, Layout, shared
from gputally.proto.columns import BASES, REASONS, SOURCES, STATES

_Value: TypeAlias = int | str | None
_BASES = BASIS.codes(BASES)
_REASONS = REASON.codes(REASONS)
_SOURCES = SOURCE.codes(SOURCES)
_KNOWN = len(STATES)


class Numbers(NamedTuple):
    """What rows of a layout's windows have in common: ids, and texts with ids in them. An owner whom nothing names has
    no id."""

    devices: Sequence[int]
    start: Sequence[str | None]  # who held each device
    end: Sequence[str | None]
    line_devices: Sequence[int]
    line_owners: Sequence[int | None]
    line_words: Sequence[Sequence[int | str]]  # the last columns of the lines


class Numbered(NamedTuple):
    """An accepted window, and the ids of what is in its tables."""

    window_id: int
    window: WindowColumns
    numbers: Numbers


def number(layout: Layout, device_ids: Mapping[Key, int], owner_ids: Mapping[Key, int]) -> Numbers:
    """The ids in a layout; `device_ids` are those of all its devices, `owner_ids` of all owners that it names."""
    devices = [device_ids[key] for key in zip(layout.uuids, layout.models, strict=True)]
    owners = [owner_ids.get(owner) for owner in layout.owners]
    names = [_joined(*name) for name in zip(layout.partitions, layout.profiles, strict=True)]
    start = [_holders(holders, owners, names) for holders in layout.start_holders]
    edges = zip(start, layout.start_holders, layout.end_holders, strict=True)
    end = [text if last is first else _holders(last, owners, names) for text, first, last in edges]
    return Numbers(
        devices,
        start,
        start if end == start else end,
        [devices[place] for place in layout.device],
        [owners[place] for place in layout.owner],
        (
            shared(_BASES[place] for place in layout.basis),
            shared(_REASONS[place] for place in layout.reason),
            shared(_SOURCES[place] for place in layout.source),
            shared(layout.partitions[place] for place in layout.partition),
            shared(layout.profiles[place] for place in layout.partition),
        ),
    )


def device_rows(windows: Iterable[Numbered]) -> Iterator[tuple[_Value, ...]]:
    """Rows of `window_device`."""
    for window_id, window, numbers in windows:
        for device_id, device, start, end in zip(
            numbers.devices, window.devices, numbers.start, numbers.end, strict=True
        ):
            yield (
                window_id,
                device_id,
                device.capacity_us,
                device.energy_start_mj,
                device.energy_end_mj,
                int(device.energy_estimated),
                device.energy_breaks,
                start,
                end,
                int(device.unavailable_at_end),
                device.idle_power_mw,
                device.ghost_memory_byte_s,
            )


def _joined(partition: str, profile: str) -> str:
    """A partition and its profile, as they stand in JSON."""
    return f"{json.dumps(partition)},{json.dumps(profile)}"


def _holders(holders: Iterable[Holder], owners: Sequence[int | None], names: Sequence[str]) -> str | None:
    rows = [
        f"[{owners[owner]},{names[partition]},{numerator},{denominator}]"
        for owner, partition, numerator, denominator in holders
    ]
    return f"[{','.join(rows)}]" if rows else None


def line_rows(windows: Iterable[Numbered]) -> Iterator[tuple[_Value, ...]]:
    """Rows of `line`."""
    for window_id, window, numbers in windows:
        lines = window.lines
        yield from zip(
            repeat(window_id, len(numbers.line_devices)),
            count(),
            numbers.line_devices,
            numbers.line_owners,
            *lines.times[:_KNOWN],
            lines.energy_idle_mj,
            lines.energy_dynamic_mj,
            lines.memory_byte_s,
            *map(_seldom, lines.times[_KNOWN:]),
            *lines.quality,
            *numbers.line_words,
            strict=False,  # the positions have no end
        )


def _seldom(times: Sequence[int]) -> Iterable[int | None]:
    """A column of a memo as it stands in the table."""
    return (us or None for us in times) if any(times) else repeat(None)
