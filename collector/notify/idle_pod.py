"""A pod that holds GPUs idle, as long as a message needs to know it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from gputally.collector.now.pods import known

_MINUTE_US = 60_000_000
GRACE_US = 15 * _MINUTE_US  # of each reservation, for loading: as the rule ReservedGpuIdle has it
CRITICAL = 4  # times the length from which a spell is told


class PodKey(NamedTuple):
    """A pod by its names."""

    cluster: str
    namespace: str
    pod: str


@dataclass(frozen=True, slots=True)
class IdlePart:
    """A partition that the pod holds, idle over [since_us, until_us) and held for `held_us` at least.

    `before`: it began before the ledger was looked at. `cost` is exact, as `rates.cost` counts; None: unpriced.
    """

    uuid: str
    partition: str
    gpus: Fraction
    since_us: int
    until_us: int
    held_us: int
    before: bool
    idle_us: int
    cost: int | None
    unpriced_us: int

    @property
    def length_us(self) -> int:
        """How long it has been idle."""
        return self.until_us - self.since_us

    def lasts(self, length_us: int) -> bool:
        """Whether it has been idle for so long, apart from what is granted for loading."""
        return self.length_us >= length_us and self.held_us >= length_us + GRACE_US


@dataclass(frozen=True, slots=True)
class IdlePod:
    """`parts` are idle; `held` counts all that it holds. `rate` is what an hour more of them costs, None: unpriced.

    `memory_bytes` is what it holds in them; None where that is unknown. `team` and `currency` may be empty.
    """

    key: PodKey
    team: str
    nodes: tuple[str, ...]
    models: tuple[str, ...]
    held: int
    parts: tuple[IdlePart, ...]
    rate: int | None
    memory_bytes: int | None
    currency: str

    @property
    def gpus(self) -> Fraction:
        """How many GPUs are idle; parts of a GPU count as parts."""
        return sum((part.gpus for part in self.parts), Fraction(0))

    @property
    def since_us(self) -> int:
        """When the longest spell began."""
        return min(part.since_us for part in self.parts)

    @property
    def until_us(self) -> int:
        """Up to when it is known."""
        return max(part.until_us for part in self.parts)


@dataclass(frozen=True, slots=True)
class Spent:
    """What idle time came to; `cost` is exact, None where none of it has a price."""

    idle_us: int = 0
    cost: int | None = None
    unpriced_us: int = 0

    def plus(self, parts: Iterable[IdlePart]) -> "Spent":
        """With these added."""
        more = list(parts)
        return Spent(
            self.idle_us + sum(part.idle_us for part in more),
            known([self.cost, *(part.cost for part in more)]),
            self.unpriced_us + sum(part.unpriced_us for part in more),
        )


def to_json(pod: IdlePod) -> str:
    """For the database."""
    return json.dumps(asdict(pod), default=str)


def of_json(text: str) -> IdlePod:
    """What `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    parts = tuple(IdlePart(**(part | {"gpus": Fraction(part["gpus"])})) for part in values["parts"])
    return IdlePod(
        **(
            values
            | {
                "key": PodKey(*values["key"]),
                "nodes": tuple(values["nodes"]),
                "models": tuple(values["models"]),
                "parts": parts,
            }
        )
    )
