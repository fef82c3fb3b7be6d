"""Waste as tables of texts, for a terminal."""

from collections.abc import Sequence
from typing import TypeAlias

from gputally.collector.rates.cost import rounded
from gputally.collector.render import UNKNOWN
from gputally.collector.statement.currency import decimals
from gputally.collector.statement.rounding import fixed, hours
from gputally.collector.waste.lenses import Lenses
from gputally.collector.waste.read import Waste, Wasted, summed

PROVISIONAL = "~"  # behind time of which some may turn out to be of another kind
NOTE = f"{PROVISIONAL}  some of it may turn out to be of another kind: its pod lives"

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]


def owners(found: Waste) -> Table:
    """A row for each owner and kind, the dearest first; columns of figures add up."""
    parts = [(row.keys, kind, one) for row in found.rows for kind, one in row.kinds.items() if one.us]
    parts.sort(key=lambda part: (-(part[2].cost or 0), -part[2].us))
    heads, figures = _figures([one for *_, one in parts], found.currency)
    rows = [(*keys, kind.value, *figure) for (keys, kind, _), figure in zip(parts, figures, strict=True)]
    return (*(key.value for key in found.query.keys), "kind", *heads), rows


def kinds(found: Waste) -> Table:
    """The five kinds of the whole, and their sum."""
    whole = [*found.total.values(), summed(found.total.values())]
    heads, figures = _figures(whole, found.currency, parts=len(found.total))
    names = [*(kind.value for kind in found.total), "idle"]
    return ("", *heads), [(name, *figure) for name, figure in zip(names, figures, strict=True)]


def lenses(found: Lenses, currency: str) -> Table:
    """What workloads show, the dearest first."""
    heads, figures = _figures([row.found for row in found.rows], currency)
    names = [(row.name.namespace, row.name.label, row.lens.value) for row in found.rows]
    rows = [(*name, *figure) for name, figure in zip(names, figures, strict=True)]
    return ("namespace", "workload", "of used and idle", *heads), rows


def missing(found: Lenses) -> str:
    """What the lenses could not tell, a line each; empty where nothing."""
    return "".join(f"{lens} unknown: {why}\n" for lens, why in found.unknown.items())


def _figures(wasted: Sequence[Wasted], currency: str, parts: int | None = None) -> tuple[list[str], list[list[str]]]:
    """GPU-hours and costs, to the right of their columns; of `wasted` the first `parts` add up, the rest is rounded."""
    columns = [_right("GPU-hours", _hours(wasted, parts))]
    if currency:
        columns.append(_right(currency, _costs(wasted, currency, parts)))
    heads = [head for head, *_ in columns]
    return heads, [list(row) for row in zip(*(rest for _, *rest in columns), strict=True)]


def _hours(wasted: Sequence[Wasted], parts: int | None) -> list[str]:
    us = [one.us for one in wasted]
    texts = [*hours(us[:parts], 1), *(hours([each], 1)[0] for each in ([] if parts is None else us[parts:]))]
    marks = [PROVISIONAL if one.provisional_us else " " for one in wasted]
    return [f"{text} {mark}" for text, mark in zip(texts, marks, strict=True)]


def _costs(wasted: Sequence[Wasted], currency: str, parts: int | None) -> list[str]:
    """A + says that some of the time has no price and is in no cost."""
    digits = decimals(currency)
    together, alone = wasted[:parts], [] if parts is None else wasted[parts:]
    known = rounded([one.cost for one in together if one.cost is not None], digits)
    known += [each for one in alone if one.cost is not None for each in rounded([one.cost], digits)]
    units = iter(known)
    texts = [UNKNOWN if one.cost is None else fixed(next(units), digits) for one in wasted]
    return [
        text + "+" * (one.unpriced_us > 0 and one.cost is not None) for text, one in zip(texts, wasted, strict=True)
    ]


def _right(head: str, texts: Sequence[str]) -> list[str]:
    width = max(map(len, (head, *texts)))
    return [text.rjust(width) for text in (head, *texts)]
