"""One piece of advice: about whom, what was found, and what the time in question came to in the last seven days."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Kind(StrEnum):
    """What advice is about."""

    UNUSED = "unused-gpus"
    MIG = "fits-mig"
    NOTEBOOK = "idle-notebook"
    OFF_HOURS = "idle-off-hours"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whom it is about; `team` is empty where none is known."""

    cluster: str
    namespace: str
    team: str
    workload: str
    pods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spent:
    """The time in question; `cost` as `rates.cost` counts it, of what has a price: None where none of it has."""

    us: int = 0
    cost: int | None = 0
    unpriced_us: int = 0

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        us, unpriced_us = self.us + other.us, self.unpriced_us + other.unpriced_us
        return Spent(us, None if us and us == unpriced_us else (self.cost or 0) + (other.cost or 0), unpriced_us)

    def part(self, numerator: int, denominator: int) -> "Spent":
        """A part of it, rounded down."""
        cost = None if self.cost is None else self.cost * numerator // denominator
        return Spent(self.us * numerator // denominator, cost, self.unpriced_us * numerator // denominator)


@dataclass(frozen=True, slots=True)
class Unused:
    """A pod that used `used` of the `parts` GPUs that it held, and `never` others not, held over [since_us, until_us).

    `whole`: all of them are whole GPUs, and not parts of some.
    """

    used: int
    never: int
    parts: int
    whole: bool
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Fit:
    """Whole GPUs of a model whose use would fit `profile`, which has `slices` of the GPU's `of` and `bytes` of memory.

    `busy_permille` is how long something ran, of the time measured; `busiest_permille` that of the busiest hour of any
    of them. `peak_bytes` is the most memory that processes held on one of them.
    """

    model: str
    profile: str
    slices: int
    of: int
    bytes: int
    peak_bytes: int
    busy_permille: int
    busiest_permille: int
    held_us: int


@dataclass(frozen=True, slots=True)
class IdleNotebook:
    """A notebook all of whose `parts` have been idle since `since_us`, or longer (`before`).

    `memory_bytes` is what it holds there now; None unknown.
    """

    parts: int
    since_us: int
    until_us: int
    before: bool
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Hours of the week that follow each other, from `first` (0: Monday, 00:00) for `length`."""

    first: int
    length: int


@dataclass(frozen=True, slots=True)
class OffHours:
    """A service whose replicas are wholly idle in these stretches of each week; `times` is how often that was seen."""

    stretches: tuple[Stretch, ...]
    times: int
    days: int

    @property
    def hours(self) -> int:
        """Of a week."""
        return sum(stretch.length for stretch in self.stretches)


Details: TypeAlias = Unused | Fit | IdleNotebook | OffHours


@dataclass(frozen=True, slots=True)
class Advice:
    """A fact about somebody. What different ones say of the same time overlaps: they are never added up."""

    kind: Kind
    subject: Subject
    spent: Spent
    details: Details


def order(advice: Advice) -> tuple[bool, int, int, str, Subject]:
    """The dearest first; then, apart from these, what has no price, the longest first."""
    cost = advice.spent.cost
    subject = advice.subject
    return (cost is None, -(cost or 0), -advice.spent.us, advice.kind.value, subject)
