"""The rows of an answer, kept column by column; who wants them one by one has them made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap

from gputally.collector.allocation.amounts import Amounts
from gputally.collector.allocation.columns import Column, picked
from gputally.collector.allocation.costs import Costs
from gputally.collector.allocation.money import Money
from gputally.collector.allocation.period import Period


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `keys` follow the query's, `owner` is pod, host or platform.

    `shared_us` is the time that spreading adds (to the platform: takes away); `amounts` never hold it.
    """

    step: Period
    keys: tuple[str, ...]
    owner: str
    amounts: Amounts
    money: Money
    shared_us: int = 0


@dataclass(frozen=True)
class Table:
    """Columns of `Row`; `amounts` are those of `Amounts`, in its order."""

    steps: Sequence[Period]
    keys: Sequence[tuple[str, ...]]
    owners: Sequence[str]
    amounts: Sequence[Column]
    costs: Costs
    shared_us: Sequence[int]

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One by one."""
        amounts = starmap(Amounts, zip(*self.amounts, strict=True))
        every = zip(self.steps, self.keys, self.owners, amounts, self.costs.rows(), self.shared_us, strict=True)
        return tuple(starmap(Row, every))

    def picked(self, at: Sequence[int]) -> "Table":
        """Some rows, in this order."""
        amounts, costs = [picked(column, at) for column in self.amounts], self.costs.picked(at)
        steps, keys, owners = picked(self.steps, at), picked(self.keys, at), picked(self.owners, at)
        return Table(steps, keys, owners, amounts, costs, picked(self.shared_us, at))
