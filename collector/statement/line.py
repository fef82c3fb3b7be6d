"""The nouns of a statement's ground: a line is a posting with its price, an account what lines have in common."""

from typing import NamedTuple

from gputally.accounting.states import OwnerKind, State
from gputally.collector.rates.cost import energy_cost, time_cost
from gputally.collector.rates.pricing import Key


class Terms(NamedTuple):
    """What pricing adds to a posting. Prices are 10⁻⁹ of the currency; None is not known, and never 0.

    `list_price` is the price before what was negotiated with a namespace or a team; `overhead_price` what the building
    draws besides, per kilowatt-hour of the devices. `tags` are the namespace's labels at that time, as JSON.
    """

    namespace_uid: str = ""
    team: str | None = None
    cost_center: str | None = None
    tags: str = "{}"
    price: int | None = None
    list_price: int | None = None
    kwh_price: int | None = None
    overhead_price: int | None = None
    rate_version: int | None = None


class Holding(NamedTuple):
    """What a posting is named by, besides its hour, in the order of the ledger's names."""

    cluster: str
    node: str
    uuid: str
    model: str
    partition: str
    profile: str
    kind: str
    namespace: str
    pod: str
    container: str
    pod_uid: str
    first_seen_us: int
    user: str
    unit: str
    basis: str
    reason: str

    @property
    def place(self) -> Key:
        """What its rate depends on besides its hour; only a pod has a namespace."""
        named = self.namespace if self.kind == OwnerKind.POD else None
        return Key(self.cluster, self.node, self.model, self.profile, named)


class Amounts(NamedTuple):
    """Microseconds by state, how much of them no window covers, millijoules (None: unknown). Below 0: a correction."""

    used_us: int = 0
    idle_us: int = 0
    unallocated_us: int = 0
    unavailable_us: int = 0
    unobserved_us: int = 0
    gap_us: int = 0
    energy_idle_mj: int | None = None
    energy_dynamic_mj: int | None = None

    @property
    def states(self) -> tuple[int, ...]:
        """The five states, in their order."""
        return self[: len(State)]  # type: ignore[return-value]  # what may be None comes after them

    @property
    def capacity_us(self) -> int:
        """The five states together."""
        return sum(self.states)

    @property
    def energy_mj(self) -> int | None:
        """Both parts of the energy; None where neither is known."""
        if self.energy_idle_mj is None and self.energy_dynamic_mj is None:
            return None
        return (self.energy_idle_mj or 0) + (self.energy_dynamic_mj or 0)


class Line(NamedTuple):
    """A priced posting, or the difference that corrects one of a closed month."""

    hour_us: int
    holding: Holding
    terms: Terms
    amounts: Amounts

    @property
    def cost(self) -> int | None:
        """Of its time, as `rates.cost` counts; None: unpriced."""
        return time_cost(self.amounts.capacity_us, self.terms.price)

    @property
    def energy_cost(self) -> int | None:
        """Of its energy; None where either is not known."""
        return energy_cost(self.amounts.energy_mj, self.terms.kwh_price)

    @property
    def overhead_cost(self) -> int | None:
        """Of what the building drew besides; None where either is not known."""
        return energy_cost(self.amounts.energy_mj, self.terms.overhead_price)


def payer(kind: str, state: State) -> OwnerKind:
    """Who pays for time: its owner for what it used, held idle or held unobserved, the platform for all else."""
    if state in (State.UNALLOCATED, State.UNAVAILABLE):
        return OwnerKind.PLATFORM
    return OwnerKind(kind)
