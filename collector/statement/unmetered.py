"""Time of a month whose energy nobody measured: the sums of energy are without it."""

from collections import defaultdict
from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.allocation.cells import Cell
from gputally.collector.rates.pricing import Key
from gputally.collector.statement.item import CELL_ENERGY
from gputally.collector.statement.line import Terms


class Unmetered(NamedTuple):
    """Of one namespace in one team, of hosts or of the platform (`payer`), in the month's own time, microseconds."""

    payer: str
    team: str
    cluster: str
    namespace: str
    us: int


class _Of(NamedTuple):
    kind: OwnerKind
    place: Key
    terms: Terms


class Energies:
    """Adds up energy as far as it is known, and the time for which it is not.

    It is not known of a model, namespace and price of which no part is measured in all of the month, however the
    database has summed it; where a part is, the rest of it does not show in sums.
    """

    def __init__(self) -> None:
        self.mj: int | None = None
        self._metered: set[_Of] = set()
        self._times: dict[_Of, int] = defaultdict(int)

    def add(self, mj: int | None) -> None:
        """Add energy."""
        if mj is not None:
            self.mj = (self.mj or 0) + mj

    def add_cell(self, cell: Cell, terms: Terms) -> None:
        """Add that of postings which the database has summed."""
        of, mj = _Of(cell.kind, cell.place, terms), cell.amounts[CELL_ENERGY]
        self.add(mj)
        if mj is not None:
            self._metered.add(of)
        self._times[of] += sum(us or 0 for us in cell.amounts[: len(State)])

    @property
    def unmetered(self) -> tuple[Unmetered, ...]:
        """The time whose energy is not known."""
        found: dict[tuple[str, str, str, str], int] = defaultdict(int)
        for of, us in self._times.items():
            if of not in self._metered:
                found[_whose(of)] += us
        return tuple(Unmetered(*whose, us) for whose, us in sorted(found.items()) if us)


def _whose(of: _Of) -> tuple[str, str, str, str]:
    """Who pays, the team, the cluster and the namespace; hosts and the platform have no team and no namespace."""
    kind, place, terms = of
    team, namespace = (terms.team, place.namespace) if kind is OwnerKind.POD else (None, None)
    return kind.value, team or "", place.cluster, namespace or ""
