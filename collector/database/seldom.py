"""Amounts that are nearly always 0, for which NULL, that takes no room, stands in the table."""

from typing import Any

from sqlalchemy import BigInteger, Dialect
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.types import TypeDecorator


class Seldom(TypeDecorator[int]):
    """An amount that is always known: NULL in the table is 0 in Python. Only for what is not part of a state.

    In SQL it is compared as it stands: `> 0` finds what is not 0, `IS NULL` what is. A sum of it may be NULL.
    """

    impl = BigInteger
    cache_ok = True

    def coerce_compared_value(self, _op: Any, _value: Any) -> TypeEngine[Any]:
        """A number beside it is a number, 0 too."""
        return BigInteger()

    def process_bind_param(self, value: int | None, _dialect: Dialect) -> int | None:
        """0 as NULL."""
        return value or None

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> int:
        """NULL as 0."""
        return value or 0
