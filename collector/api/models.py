"""What the API's answers look like: times in microseconds, energy in millijoules, money as exact decimals in text.

Unknown is null, never 0.
"""

from pydantic import BaseModel, Field

Cost = str | None
_APART = "null where states are counted apart"


class Span(BaseModel):
    """[start, end), RFC 3339 in the time zone of the answer."""

    start: str
    end: str


class Status(BaseModel):
    """Whether the numbers of a period can still change."""

    status: str = Field(description="open, closed, or partly-closed: some of its months are.")
    pending_hours: int = Field(description="Hours of nodes that wait to be recomputed: their windows are not in yet.")


class Quality(BaseModel):
    """GPM's figures, means over the time that had them, 0 to 1. They say how well time was used; nobody pays by them.

    `measured_us` is that time.
    """

    measured_us: int
    sm_activity: float | None
    sm_occupancy: float | None
    tensor_activity: float | None
    memory_bandwidth: float | None


class Figures(BaseModel):
    """Time in the five states, which sum to the capacity; memos; energy; cost, by state and whole."""

    capacity_us: int
    used_us: int
    idle_us: int
    unallocated_us: int
    unavailable_us: int
    unobserved_us: int
    reserved_us: int | None = Field(description=f"used + idle + unobserved of reservations; {_APART}.")
    burst_us: int | None = Field(description=f"Busy beyond the share held; in no state; {_APART}.")
    intruder_us: int | None = Field(description=f"Busy in time that another paid for; in no state; {_APART}.")
    gap_us: int | None = Field(description=f"The part of the time that no window covers; {_APART}.")
    coverage: float | None = Field(description=f"1 - unobserved / capacity; {_APART}.")
    efficiency: float | None = Field(description=f"used / (used + idle); {_APART}.")
    energy_mj: int | None
    memory_byte_s: int | None
    cost: Cost = Field(description="Of the time that has a price. Rows add up to the total.")
    used_cost: Cost
    idle_cost: Cost
    unallocated_cost: Cost
    unavailable_cost: Cost
    unobserved_cost: Cost
    unpriced_us: int = Field(description="Time without a price: it is in no cost.")
    energy_cost: Cost
    overhead_cost: Cost = Field(description="What the building draws besides (PUE), at the energy's price.")
    carbon_g: Cost = Field(
        description="Grams of CO2e of the energy that has a factor, with PUE where the card has one; null: not known."
    )
    no_factor_mj: int = Field(
        description="Energy without a carbon factor, or whose factor changes too often for so long a window: it is in "
        "no carbon_g."
    )
    shared_us: int = Field(description="What spreading adds; the platform's rows give as much away. In nothing else.")
    shared_cost: Cost
    quality: Quality | None = Field(description="Null where nothing was measured.")


class RowName(BaseModel):
    """Whose figures, and when."""

    step: Span
    keys: dict[str, str] = Field(description="By the names in `aggregate`; empty for what is nobody's.")
    owner: str = Field(description="pod, host (a process outside pods) or platform (nobody).")


class Row(Figures, RowName):
    """The figures of one row."""


class Answer(BaseModel):
    """What every answer from the ledger says of itself."""

    window: Span
    timezone: str
    currency: str | None = Field(description="ISO 4217; null without a rate card.")
    capacity_us: int = Field(description="Of all states, whichever are asked for.")
    coverage: float | None
    unpriced_us: int
    period: Status
    ledger_hash: str = Field(
        description="Of the postings in scope: answers with the same hash rest on the same ledger."
    )
    total_rows: int = Field(description="Rows there are; limit and offset choose from them.")


class AllocationAnswer(Answer):
    """Where GPU time went."""

    aggregate: list[str]
    total: Figures = Field(description="Of all rows, also those that limit and offset leave out.")
    rows: list[Row]


class IdleRow(BaseModel):
    """Time that somebody held and nothing ran in."""

    keys: dict[str, str]
    idle_us: int
    held_us: int = Field(description="used + idle + unobserved.")
    idle_ratio: float | None = Field(description="idle / (used + idle).")
    idle_cost: Cost
    unpriced_us: int


class IdleAnswer(Answer):
    """Idle time by owner, the dearest or the longest first."""

    aggregate: list[str]
    idle_us: int
    idle_cost: Cost
    rows: list[IdleRow]


class CoverageRow(BaseModel):
    """How much of a row's capacity was seen, and why the rest was not."""

    step: Span
    keys: dict[str, str]
    capacity_us: int
    unobserved_us: int
    gap_us: int
    coverage: float | None
    reasons_us: dict[str, int] = Field(description="Unobserved time by reason; the text is empty where there is none.")


class CoverageAnswer(Answer):
    """What was not seen; the worst first."""

    aggregate: list[str]
    rows: list[CoverageRow]


class DeviceRow(BaseModel):
    """A GPU on a node, and its time in the window."""

    cluster: str
    node: str
    uuid: str
    model: str
    node_labels: dict[str, str] | None = Field(description="As of the end of the window, or asOf; null: not known.")
    capacity_us: int
    used_us: int
    idle_us: int
    unallocated_us: int
    unavailable_us: int
    unobserved_us: int
    coverage: float | None


class DevicesAnswer(Answer):
    """The GPUs that had any time in the window."""

    rows: list[DeviceRow]
