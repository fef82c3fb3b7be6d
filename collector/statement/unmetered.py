"""Time of a month whose energy nobody measured: the sums of energy are without it."""

from collections import defaultdict
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.cells import Cell
from gputally.collector.statement.item import CELL_ENERGY
from gputally.collector.statement.line import Terms


class Unmetered(NamedTuple):
    """Of one namespace in one team, of hosts or of the platform (`payer`), in the month's own time, microseconds."""

    payer: str
    team: str
    cluster: str
    namespace: str
    us: int


class Energies:
    """Adds up energy as far as it is known, and the time for which it is not.

    It is not known of a model, namespace and price of which no part is measured; where a part is, the rest of it does
    not show in sums.
    """

    def __init__(self) -> None:
        self.mj: int | None = None
        self._without: dict[tuple[str, str, str, str], int] = defaultdict(int)

    def add(self, mj: int | None) -> None:
        """Add energy."""
        if mj is not None:
            self.mj = (self.mj or 0) + mj

    def add_cell(self, cell: Cell, terms: Terms) -> None:
        """Add that of postings which the database has summed."""
        mj = cell.amounts[CELL_ENERGY]
        self.add(mj)
        if mj is None:
            who = (terms.team or "", cell.place.cluster, cell.place.namespace or "")
            named = who if cell.kind is OwnerKind.POD else ("", cell.place.cluster, "")
            self._without[cell.kind.value, *named] += sum(us or 0 for us in cell.amounts[: len(State)])

    @property
    def unmetered(self) -> tuple[Unmetered, ...]:
        """The time whose energy is not known."""
        return tuple(Unmetered(*of, us) for of, us in sorted(self._without.items()) if us)
