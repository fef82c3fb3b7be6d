"""All advice that there is at an instant, the dearest first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from gputally.collector.advice.advice import Advice, Kind, order
from gputally.collector.advice.asked import Asked
from gputally.collector.advice.fit import read_fits
from gputally.collector.advice.notebook import read_notebooks
from gputally.collector.advice.off_hours import read_off_hours
from gputally.collector.advice.unused import read_unused
from gputally.collector.allocation.allocation import pending_in
from gputally.collector.allocation.filter import EVERYTHING, Filter
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import WHOLE, QueryError, Scope
from gputally.collector.rates.card import Quantity
from gputally.collector.rates.pricing import read_pricer

KEYS = (By.CLUSTER, By.NAMESPACE, By.TEAM, By.WORKLOAD)  # that advice can be told apart by
_READERS: Mapping[Kind, Callable[[Connection, Asked], Sequence[Advice]]] = {
    Kind.UNUSED: read_unused,
    Kind.MIG: read_fits,
    Kind.NOTEBOOK: read_notebooks,
    Kind.OFF_HOURS: read_off_hours,
}


@dataclass(frozen=True, slots=True)
class AdviceQuery:
    """What is asked: of whom, of which kinds (none: of all). `namespace` narrows the scope."""

    now_us: int
    scope: Scope = WHOLE
    namespace: str | None = None
    where: Filter = EVERYTHING
    kinds: tuple[Kind, ...] = ()

    def check(self) -> None:
        """Raise QueryError where advice has no such name."""
        unknown = sorted(self.where.keys - set(KEYS))
        if unknown:
            raise QueryError("filter", f"{unknown[0]}: advice can be told apart by {', '.join(KEYS)}")

    @property
    def seen(self) -> Scope:
        """What is looked at: never more than may be seen."""
        if self.namespace is None:
            return self.scope
        mine = frozenset({self.namespace})
        return replace(self.scope, namespaces=mine if self.scope.namespaces is None else mine & self.scope.namespaces)


@dataclass(frozen=True, slots=True)
class Advised:
    """An answer: the dearest first, apart from these what has no price. `week` is what `Spent` is of.

    `currency` is empty where there are no prices. `pending`: pairs of hour and node that are not settled yet.
    """

    week: Period
    rows: tuple[Advice, ...]
    currency: str
    pending: int


def read_advice(connection: Connection, zone: ZoneInfo, query: AdviceQuery) -> Advised:
    """From what is settled; `zone` is the billing time zone. Raises QueryError."""
    query.check()
    pricer = read_pricer(connection, zone, None, (Quantity.GPU_HOUR,))  # energy may change its price every hour
    asked = Asked(zone, query.now_us, query.seen, pricer)
    found = [one for kind in query.kinds or Kind for one in _READERS[kind](connection, asked)]
    rows = sorted((one for one in found if _fits(query.where, one)), key=order)
    return Advised(asked.week, tuple(rows), pricer.currency or "", pending_in(connection, asked.week, asked.scope))


def _fits(where: Filter, advice: Advice) -> bool:
    subject = advice.subject
    names = dict(zip(KEYS, (subject.cluster, subject.namespace, subject.team, subject.workload), strict=True))
    return all(clause.holds(names[clause.key]) for clause in where.clauses)
