"""The rule of the idle spell: what was measured while held, and less than 1 % of it used, is held idle."""

from typing import overload

from sqlalchemy import ColumnElement


@overload
def is_idle(used_us: int, idle_us: int) -> bool: ...
@overload
def is_idle(used_us: ColumnElement[int], idle_us: ColumnElement[int]) -> ColumnElement[bool]: ...
def is_idle(used_us: int | ColumnElement[int], idle_us: int | ColumnElement[int]) -> bool | ColumnElement[bool]:
    """Whether the microseconds of a stretch are of a spell; those used, in SQL, as a number of eight bytes."""
    return idle_us > 99 * used_us  # less than 1 % of used and idle; and not where nothing was measured
