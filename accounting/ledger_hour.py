"""The ledger hour: where it begins, in the one billing time zone of a deployment.

It is named by its UTC start and begins where the zone's local clock reads a full hour, at local midnight, and at
every change of offset: Kolkata's begin at half past, Lord Howe has pieces of 30 minutes. (A local midnight that
exists is a full hour; one that a change of offset skips is that change.)
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


def to_us(instant: datetime) -> int:
    """Microseconds since the Unix epoch of an aware instant; exact."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The UTC instant of microseconds since the Unix epoch; exact."""
    return _EPOCH + timedelta(microseconds=us)


@lru_cache(4096)  # a fleet asks for the same minutes again and again
def hour_start(us: int, zone: tzinfo) -> int:
    """The start (microseconds since the epoch) of the ledger hour that holds the instant `us`."""
    instant = from_us(us)
    start = instant - _past_the_hour(instant, zone)
    if _offset(start, zone) == _offset(instant, zone):
        return to_us(start)
    return to_us(_offset_change(start, instant, zone))


@lru_cache(4096)
def hour_end(start_us: int, zone: tzinfo) -> int:
    """The end of the ledger hour that starts at `start_us`."""
    start = from_us(start_us)
    end = start + _HOUR - _past_the_hour(start, zone)
    if _offset(end, zone) == _offset(start, zone):
        return to_us(end)
    return to_us(_offset_change(start, end, zone))


def hours(start_us: int, end_us: int, zone: tzinfo) -> Iterator[tuple[int, int]]:
    """The ledger hours that [start_us, end_us) touches, as (start, end) in microseconds, in order."""
    at = hour_start(start_us, zone)
    while at < end_us:
        end = hour_end(at, zone)
        yield at, end
        at = end


def _past_the_hour(instant: datetime, zone: tzinfo) -> timedelta:
    """How long ago the local clock would have read a full hour, had its offset stayed as it is at `instant`."""
    local = instant.astimezone(zone)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _offset(instant: datetime, zone: tzinfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


def _offset_change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The instant in (before, after] from which the zone has the offset of `after`; changes fall on whole seconds."""
    offset = _offset(after, zone)
    early, late = (to_us(edge) // 1_000_000 for edge in (before, after))
    while late - early > 1:
        middle = (early + late) // 2
        if _offset(datetime.fromtimestamp(middle, UTC), zone) == offset:
            late = middle
        else:
            early = middle
    return datetime.fromtimestamp(late, UTC)
