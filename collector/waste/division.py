"""What kinds of waste the idle time of one posting is, by the life of its pod. Pure; `division_sql` says the same."""

from collections.abc import Mapping
from typing import NamedTuple

from gputally.collector.waste.kind import Kind
from gputally.collector.waste.life import Life
from gputally.collector.waste.part import Part


class Share(NamedTuple):
    """Time of one kind, and of it what may yet turn out to be of another: microseconds."""

    us: int = 0
    provisional_us: int = 0


def divide(hour_us: int, part: Part, life: Life) -> Mapping[Kind, Share]:
    """The five kinds of the idle time of the hour that begins at `hour_us`. They sum to it."""
    if not life.part_used and (life.used_from_us is not None or life.ended):
        return _whole(Kind.OVER_ASKED, part, provisional=not life.ended)
    if life.used_from_us is None or life.used_until_us is None:
        return _whole(Kind.WAITING, part, provisional=True)
    if part.used_first_us is None and hour_us < life.used_from_us:
        return _whole(Kind.WAITING, part, provisional=False)
    return _lived(hour_us, part, life.used_from_us, life.used_until_us, ended=life.ended)


def _whole(kind: Kind, part: Part, *, provisional: bool) -> Mapping[Kind, Share]:
    share = Share(part.idle_us, part.idle_us if provisional else 0)
    return {each: share if each is kind else Share() for each in Kind}


def _lived(hour_us: int, part: Part, used_from_us: int, used_until_us: int, *, ended: bool) -> Mapping[Kind, Share]:
    """An hour in which the pod had used something, or began to."""
    starts = part.used_first_us is not None and part.used_first_us <= used_from_us
    ends = (hour_us if part.used_last_us is None else part.used_last_us) >= used_until_us
    open_end = ends and not ended  # it may go on
    waiting_us = part.before_us if starts else 0
    after_us = (part.after_us if ended else part.after_deserted_us) if ends else 0
    forgotten_us = part.middle_forgotten_us + (0 if starts else part.before_forgotten_us)
    forgotten_us += 0 if ends and ended else part.after_forgotten_us
    kept_us = part.after_us - part.after_deserted_us - part.after_forgotten_us
    return {
        Kind.OVER_ASKED: Share(),
        Kind.WAITING: Share(waiting_us),
        Kind.AFTER: Share(after_us, after_us if open_end else 0),
        Kind.FORGOTTEN: Share(forgotten_us, part.after_forgotten_us if open_end else 0),
        Kind.BETWEEN: Share(part.idle_us - waiting_us - after_us - forgotten_us, kept_us if open_end else 0),
    }
