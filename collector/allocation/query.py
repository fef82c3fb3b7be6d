"""A question to the ledger: which period and postings, grouped and stepped how, seen by whom."""

from dataclasses import dataclass
from enum import StrEnum
from zoneinfo import ZoneInfo

from gputally.accounting.ledger_hour import hour_start
from gputally.accounting.states import State
from gputally.collector.allocation.filter import EVERYTHING, Filter
from gputally.collector.allocation.grouping import By, keys
from gputally.collector.allocation.period import Period, instant
from gputally.collector.allocation.steps import Step, steps

MAX_STEPS = 1000  # a month of hours has 745


class QueryError(ValueError):
    """A question that the ledger cannot answer; `parameter` is what is wrong with it, as OpenCost's API names it."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class TooMany(QueryError):
    """The answer would be larger than is ever read."""


class Spread(StrEnum):
    """How the platform's cost is shown over the namespaces of its cluster; the ledger never moves."""

    NONE = "none"
    PROPORTIONAL = "proportional"
    EVEN = "even"
    QUOTA = "quota"  # of the queues that LocalQueues lead into
    CLAIMED_QUOTA = "claimed-quota"  # of those that pods name, too


@dataclass(frozen=True, slots=True)
class Scope:
    """What the asker may see; None is all. The platform and the hosts belong to no namespace."""

    namespaces: frozenset[str] | None = None
    clusters: frozenset[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is hidden."""
        return self.namespaces is None and self.clusters is None


WHOLE = Scope()


@dataclass(frozen=True, slots=True)
class Query:
    """`step` None: the whole period is one step. `zone` is whose calendar cuts the steps and prints the instants.

    `as_of_us`: by the rate card, team mapping and labels that were known then; None: by the newest.
    """

    period: Period
    zone: ZoneInfo
    by: tuple[By, ...] = ()
    step: Step | None = None
    where: Filter = EVERYTHING
    states: tuple[State, ...] = tuple(State)
    spread: Spread = Spread.NONE
    scope: Scope = WHOLE
    as_of_us: int | None = None

    @property
    def splits_states(self) -> bool:
        """Whether a row's time is not all of its owner's: what cannot be told state by state is unknown there."""
        return By.STATE in self.keys or len(self.states) < len(State)

    @property
    def keys(self) -> tuple[By, ...]:
        """What a row is named by."""
        return keys(self.by)

    def steps(self) -> tuple[Period, ...]:
        """The period cut into its steps; raises QueryError where there are too many."""
        if self.step is None:
            return (self.period,)
        found = []
        for at, step in enumerate(steps(self.period, self.step, self.zone)):
            if at == MAX_STEPS:
                raise QueryError("step", f"more than {MAX_STEPS} steps: ask for a longer step or a shorter window")
            found.append(step)
        return tuple(found)

    def check(self, billing: ZoneInfo) -> None:
        """Raise QueryError where the ledger, booked in the hours of `billing`, has no answer to this."""
        if self.spread is not Spread.NONE and not self.scope.whole:
            raise QueryError("shareIdle", "the platform's cost is only for those who may see every namespace")
        for us in (*(step.start_us for step in self.steps()), self.period.end_us):
            if hour_start(us, billing) != us:
                raise QueryError(
                    "tz",
                    f"{self.zone.key}: the ledger is booked in the hours of {billing.key}, and none of them begins at "
                    f"{instant(us, self.zone)}",
                )
