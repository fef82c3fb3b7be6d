"""Words that rows of large tables repeat, kept as numbers of two bytes; statements use the words.

Numbers are kept for ever: a new word gets one between its neighbours, or after them.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Dialect, SmallInteger
from sqlalchemy.types import TypeDecorator

from gputally.accounting.states import Basis, Reason, Source

_Words = tuple[tuple[str, int], ...]


class Coded(TypeDecorator[str]):
    """A text that is one of `words`, each with its number. Rows are in the order of the numbers."""

    impl = SmallInteger
    cache_ok = True

    def __init__(self, words: _Words) -> None:
        super().__init__()
        self.words = words
        self._codes = dict(words)
        self._texts = {code: word for word, code in words}

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> int | None:
        """The number of a word; raises KeyError for one that is none of these."""
        return None if value is None else self._codes[value]

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> str | None:
        """The word of a number; raises KeyError for one that stands for none."""
        return None if value is None else self._texts[value]

    def codes(self, words: Sequence[str]) -> tuple[int, ...]:
        """The numbers of some words, for rows that go past SQLAlchemy."""
        return tuple(self._codes[word] for word in words)

    @property
    def legend(self) -> str:
        """What the numbers mean, for people who read the table."""
        return ", ".join(f"{code} {word or 'empty'}" for word, code in self.words)


# As their texts are sorted, so that rows come in that order too.
BASIS: Final = Coded(((Basis.NONE.value, 0), (Basis.PROCESS.value, 10), (Basis.RESERVATION.value, 20)))
REASON: Final = Coded(
    (
        (Reason.NONE.value, 0),
        (Reason.CLAIM_UNUSED.value, 10),
        (Reason.INVALID_READING.value, 20),
        (Reason.MIG_REMAINDER.value, 30),
        (Reason.NO_SAMPLE.value, 40),
        (Reason.NO_UTILISATION.value, 50),
        (Reason.TWO_HOLDERS.value, 60),
        (Reason.UNATTRIBUTED.value, 70),
    )
)
# The larger the less certain; but `none` counts only where nothing else was measured.
SOURCE: Final = Coded(
    (
        (Source.NONE.value, 0),
        (Source.DEVICE_SAMPLES.value, 10),
        (Source.DEVICE_RATE.value, 20),
        (Source.PROCESS_SAMPLES.value, 30),
        (Source.GPM.value, 40),
        (Source.ESTIMATED_SHARE.value, 50),
    )
)
