"""What gaps must add to a ledger, found window by window: the reference for the collector's statements."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from gputally.accounting.gap import Edge, Gap, Span, extent, without
from gputally.accounting.ledger_hour import hours
from gputally.accounting.line import DeviceWindow, Line, Window

DAY_US = 86_400_000_000
_BOOT = "boot-1"

_Stand = tuple[Window, DeviceWindow]  # a device in one of its windows


@dataclass(frozen=True, slots=True)
class GapLine:
    """A line of a gap's part in one ledger hour, and where it is posted."""

    hour_us: int
    cluster: str
    node: str
    uuid: str
    model: str
    profile: str
    line: Line


def gap_lines(
    windows: Sequence[Window],
    zone: tzinfo,
    booked_until_us: int = 0,
    absent_after_us: int = DAY_US,
) -> Iterator[GapLine]:
    """Every line of every gap; all windows are of one boot."""
    stands: defaultdict[tuple[str, str, str, str], list[_Stand]] = defaultdict(list)
    for window in sorted(windows, key=lambda window: window.start_us):
        for part in window.devices:
            if part.capacity_us:
                stands[window.cluster, window.node, part.uuid, part.model].append((window, part))
    for (cluster, node, uuid, model), stand in stands.items():
        skips = [
            (window.start_us - window.skipped_us, window.start_us)
            for window in windows
            if (window.cluster, window.node) == (cluster, node) and window.skipped_us
        ]
        place = (cluster, node, uuid, model)
        elsewhere = [us for key in stands if key[2] == uuid and key != place for us in _begins(stands[key])]
        for gap, profiles in _gaps(stand, skips, elsewhere, booked_until_us, absent_after_us):
            for hour in hours(*_envelope(gap), zone):
                for line in gap.lines(*hour):
                    profile = profiles.get(line.key.partition, "")
                    yield GapLine(hour[0], cluster, node, uuid, model, profile, line)


def _begins(stand: Sequence[_Stand]) -> list[int]:
    """Where the device is seen after it was not."""
    ends = [None, *(window.end_us for window, _ in stand)]
    starts = (window.end_us - part.capacity_us for window, part in stand)
    return [start_us for start_us, end_us in zip(starts, ends, strict=False) if start_us != end_us]


def _envelope(gap: Gap) -> Span:
    return (gap.spans[0][0], gap.spans[-1][1]) if gap.spans else (gap.before.at_us, gap.before.at_us)


def _gaps(
    stand: Sequence[_Stand],
    skips: Sequence[Span],
    elsewhere: Sequence[int],
    booked_until_us: int,
    absent_after_us: int,
) -> Iterator[tuple[Gap, dict[str, str]]]:
    for at, (window, part) in enumerate(stand):
        following = stand[at + 1] if at + 1 < len(stand) else None
        before = Edge(
            window.end_us,
            _BOOT,
            part.end_holders,
            None if part.energy_estimated else part.energy_end_mj,
            part.idle_power_mw,
            part.unavailable_at_end,
        )
        after = _after(*following) if following else None
        # Where the device is seen again in another place, what is silent here ends.
        ends = (us for us in elsewhere if before.at_us <= us and (after is None or us < after.at_us))
        whole = (before.at_us, min([*ends, after.at_us if after else booked_until_us]))
        span = extent(whole, same_life=after is not None, absent_after_us=absent_after_us)
        # A step belongs to the gap that the window after it ends, or stands in.
        steps = [skip for skip in skips if after is None or skip[1] <= after.at_us]
        spans = tuple(piece for piece in without([span], steps) if piece[0] < piece[1])
        yield Gap(before, after, spans), dict(part.profiles)


def _after(window: Window, part: DeviceWindow) -> Edge:
    energy_mj = None if part.energy_estimated else part.energy_start_mj
    return Edge(window.end_us - part.capacity_us, _BOOT, part.start_holders, energy_mj, part.idle_power_mw)
