"""Waste as the API and the command line tell it: a row for each owner and kind, the dearest first."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, Field

from gputally.collector.allocation.money import column
from gputally.collector.api import figures, models
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.lenses import Lens, Lenses
from gputally.collector.waste.read import Waste, Wasted, WasteRow


class Figures(BaseModel):
    """Time, and what it cost."""

    us: int
    cost: models.Cost = Field(description="Of the time that has a price.")
    unpriced_us: int = Field(description="Time without a price: it is in no cost.")


class KindFigures(Figures):
    """Idle time of one kind. The five kinds sum to idle."""

    kind: Kind = Field(description="The first that fits, in this order.")
    provisional_us: int = Field(description="The part that may turn out to be of another kind: its pod lives.")


class Row(KindFigures):
    """One kind of a row's idle time."""

    step: models.Span
    keys: dict[str, str] = Field(description="By the names in `aggregate`.")


class LensFigures(Figures):
    """What a workload shows through a lens: a part of its used and idle time, never added to them."""

    lens: str = Field(
        description="failed-attempts: all reserved time of attempts that failed; straggling: idle time "
        "in which ranks were behind the best of their gang."
    )
    cluster: str
    namespace: str
    workload: str


class Answer(models.Answer):
    """Idle time by what kind of waste it is."""

    aggregate: list[str]
    kinds: list[KindFigures] = Field(description="Of all rows, also those that limit and offset leave out.")
    rows: list[Row]
    lenses: list[LensFigures] = Field(description="The dearest first; as many at most as rows.")
    unknown_lenses: Mapping[Lens, str] = Field(description="Lenses that cannot be looked through, and why.")
    all_ranks: bool = Field(description="false: straggling is among the unknown lenses.")


def kinds(found: Waste) -> list[KindFigures]:
    """The five kinds of the whole, in their order."""
    costs = column([one.cost for one in found.total.values()])
    return [
        KindFigures(kind=kind, us=one.us, provisional_us=one.provisional_us, cost=cost, unpriced_us=one.unpriced_us)
        for (kind, one), cost in zip(found.total.items(), costs, strict=True)
    ]


def rows(found: Waste) -> list[Row]:
    """Each kind that a row has time of: step by step, and within one the dearest first."""
    parts = [(row, kind, one) for row in found.rows for kind, one in row.kinds.items() if one.us]
    parts.sort(key=_order)
    costs = column([one.cost for *_, one in parts])
    query = found.query
    return [
        Row(
            step=figures.span(row.step, query),
            keys=dict(zip((key.value for key in query.keys), row.keys, strict=True)),
            kind=kind,
            us=one.us,
            provisional_us=one.provisional_us,
            cost=cost,
            unpriced_us=one.unpriced_us,
        )
        for (row, kind, one), cost in zip(parts, costs, strict=True)
    ]


def lenses(found: Lenses) -> list[LensFigures]:
    """What workloads show, the dearest first."""
    costs: Sequence[str | None] = column([row.found.cost for row in found.rows])
    return [
        LensFigures(
            lens=row.lens,
            cluster=row.name.cluster,
            namespace=row.name.namespace,
            workload=row.name.label,
            us=row.found.us,
            cost=cost,
            unpriced_us=row.found.unpriced_us,
        )
        for row, cost in zip(found.rows, costs, strict=True)
    ]


def _order(part: tuple[WasteRow, Kind, Wasted]) -> tuple[int, int, int, tuple[str, ...], int]:
    row, kind, one = part
    return (row.step.start_us, -(one.cost or 0), -one.us, row.keys, list(Kind).index(kind))
