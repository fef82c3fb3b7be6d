"""Lines as CSV: one line each, unknown empty; written as they are read, a block at a time.

What lines have in common is made text once. The texts are those of Python's CSV writer.
"""

from collections.abc import Sequence
from typing import TextIO

from gputally.collector.exports.csv_text import fields
from gputally.collector.exports.record import COLUMNS, Figures, Records, instant_text, names
from gputally.collector.statement.block import MOST_ACCOUNTS, Account, Block
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.rounding import DIGITS, fixed_column


def write_csv(ground: Ground, out: TextIO) -> None:
    """All lines of a month below a line of names."""
    out.write(fields(column.name for column in COLUMNS) + "\n")
    records = Records(ground)
    texts = _Texts(ground, records)
    for block, figures in records.blocks():
        out.write("".join(texts.of(block, figures)))


class _Texts:
    """Makes lines; what comes again is remembered, up to a bound."""

    def __init__(self, ground: Ground, records: Records) -> None:
        self._month = ground.month.name
        self._records = records
        self._heads: dict[int, str] = {}
        self._accounts: dict[Account, tuple[str, str]] = {}

    def of(self, block: Block, figures: Figures) -> list[str]:
        """The lines of a block."""
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.clear()
        for hour_us in set(block.hours) - self._heads.keys():
            self._heads[hour_us] = fields([instant_text(hour_us), self._month, self._records.corrects(hour_us)])
        for account in set(block.accounts) - self._accounts.keys():
            self._accounts[account] = fields(names(account)), fields(self._records.price(account))
        hours = fixed_column(figures.hours, DIGITS)
        costs = [_known(fixed_column(cost, DIGITS)) for cost in figures.costs]
        heads, named = self._heads, [self._accounts[account] for account in block.accounts]
        return [
            f"{heads[hour_us]},{name},{used},{idle},{free},{gone},{unseen},{gap},{idle_mj},{dynamic_mj},"
            f"{of},{price},{cost},{energy},{rest}\n"
            for hour_us, (
                name,
                price,
            ), used, idle, free, gone, unseen, gap, idle_mj, dynamic_mj, of, cost, energy, rest in zip(
                block.hours, named, *map(_known, block.amounts), hours, *costs, strict=True
            )
        ]


def _known(column: Sequence[object]) -> Sequence[object]:
    """A column with nothing where a value is unknown."""
    return ["" if value is None else value for value in column] if None in column else column
