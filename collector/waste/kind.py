"""The five kinds of idle time. They divide it completely: each moment is of the first kind that fits."""

from enum import StrEnum


class Kind(StrEnum):
    """The order is that in which they are tried."""

    OVER_ASKED = "over-asked"
    WAITING = "waiting-to-start"
    AFTER = "after-the-end"
    FORGOTTEN = "forgotten"
    BETWEEN = "between-kernels"
