"""The ledger hour: where it begins, in the one billing time zone of a deployment.

It is named by its UTC start and begins where the zone's local clock reads a full hour, at local midnight, and at
every change of offset: Kolkata's begin at half past, Lord Howe has pieces of 30 minutes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

HOUR_US = 3_600_000_000
_MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(instant: datetime) -> int:
    """Microseconds since the Unix epoch of an aware instant; exact."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The UTC instant of microseconds since the Unix epoch; exact."""
    return _EPOCH + timedelta(microseconds=us)


def hour_start(us: int, zone: tzinfo) -> int:
    """The start (microseconds since the epoch) of the ledger hour that holds the instant `us`."""
    instant = from_us(us)
    local = instant.astimezone(zone)
    start = instant - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    if start.astimezone(zone).utcoffset() == local.utcoffset():
        return to_us(start)
    return to_us(_offset_change(start, instant, zone))


def hours(start_us: int, end_us: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
    """The ledger hours that [start_us, end_us) touches, as (start, end) in microseconds, in order."""
    at = hour_start(start_us, zone)
    while at < end_us:
        end = hour_end(at, zone)
        yield at, end
        at = end


def hour_end(start_us: int, zone: tzinfo) -> int:
    """The end of the ledger hour that starts at `start_us`."""
    start = from_us(start_us)
    local = start.astimezone(zone)
    end = start + timedelta(hours=1) - timedelta(minutes=local.minute, seconds=local.second)
    if end.astimezone(zone).utcoffset() == local.utcoffset():
        return to_us(end)
    return to_us(_offset_change(start, end, zone))


def _offset_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first whole minute in (before, after] at which the zone's offset is that of `after`."""
    offset = after.astimezone(zone).utcoffset()
    at = before.replace(second=0, microsecond=0) + _MINUTE
    while at.astimezone(zone).utcoffset() != offset:
        at += _MINUTE
    return at
