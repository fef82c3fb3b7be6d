"""`division` as SQL, over a row of `idle_part` and its row of `lives`."""

from collections.abc import Mapping

from sqlalchemy import FromClause, and_, case, func, literal_column, or_
from sqlalchemy.sql.elements import ColumnElement

from gputally.collector.waste.kind import Kind

_ZERO: ColumnElement[int] = literal_column("0")


def kinds(part: FromClause, life: FromClause) -> Mapping[Kind, tuple[ColumnElement[int], ColumnElement[int]]]:
    """The time of each kind, and what of it is provisional: microseconds."""
    idle_us = part.c.idle_us
    ended = life.c.ended == literal_column("1")
    born = life.c.used_from_us.is_not(None)
    never = and_(life.c.part_used == literal_column("0"), or_(born, ended))
    waits = or_(~born, and_(part.c.used_first_us.is_(None), part.c.hour_us < life.c.used_from_us))
    starts = func.coalesce(part.c.used_first_us <= life.c.used_from_us, literal_column("1") == literal_column("0"))
    ends = func.coalesce(part.c.used_last_us, part.c.hour_us) >= life.c.used_until_us
    open_end = and_(ends, ~ended)

    def lived(us: ColumnElement[int]) -> ColumnElement[int]:
        """In an hour in which the pod had used something, or began to."""
        return case((or_(never, waits), _ZERO), else_=us)

    waiting = case((never, _ZERO), (waits, idle_us), (starts, part.c.before_us), else_=_ZERO)
    after = case((and_(ends, ended), part.c.after_us), (ends, part.c.after_deserted_us), else_=_ZERO)
    early = case((starts, _ZERO), else_=part.c.before_forgotten_us)
    late = case((and_(ends, ended), _ZERO), else_=part.c.after_forgotten_us)
    forgotten = part.c.middle_forgotten_us + early + late
    kept = part.c.after_us - part.c.after_deserted_us - part.c.after_forgotten_us
    over_asked = case((never, idle_us), else_=_ZERO)
    return {
        Kind.OVER_ASKED: (over_asked, case((ended, _ZERO), else_=over_asked)),
        Kind.WAITING: (waiting, case((born, _ZERO), else_=waiting)),
        Kind.AFTER: (lived(after), lived(case((open_end, after), else_=_ZERO))),
        Kind.FORGOTTEN: (lived(forgotten), lived(case((open_end, part.c.after_forgotten_us), else_=_ZERO))),
        Kind.BETWEEN: (
            lived(idle_us - case((starts, part.c.before_us), else_=_ZERO) - after - forgotten),
            lived(case((open_end, kept), else_=_ZERO)),
        ),
    }
