"""What the lines of windows add up to for each namespace and model: the growth of the fleet's counters."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from gputally.collector.ingest.columns import Amounts, WindowColumns
from gputally.collector.ingest.layout import Layout
from gputally.collector.ledger.totals import Sums, TotalKey
from gputally.proto.columns import TIMES

_ENERGIES = 2  # idle and dynamic


def sums_of(windows: Iterable[WindowColumns]) -> Mapping[TotalKey, Sums]:
    """The sums by cluster, kind of owner, namespace and model; an energy is None where none of its lines knows it."""
    alike: defaultdict[tuple[str, Layout], list[WindowColumns]] = defaultdict(list)
    for window in windows:
        alike[window.cluster, window.layout].append(window)
    found: dict[TotalKey, list[int | None]] = {}
    for (cluster, layout), some in alike.items():
        rows = _rows_of_lines(cluster, layout, found)
        for place, columns in enumerate(zip(*(window.lines.times for window in some), strict=True)):
            if filled := list(filter(any, columns)):
                _add(rows, place, _added(filled))
        _add(rows, len(TIMES), _added([window.lines.energy_idle_mj for window in some]))
        _add(rows, len(TIMES) + 1, _added([window.lines.energy_dynamic_mj for window in some]))
    return found


def _added(columns: Sequence[Amounts]) -> Amounts:
    """Line by line; None where none of them knows it."""
    if len(columns) == 1:
        return columns[0]
    lines = zip(*columns, strict=True)
    if any(None in column for column in columns):
        known = ([amount for amount in line if amount is not None] for line in lines)
        return [sum(line) if line else None for line in known]
    return list(map(sum, lines))


def _rows_of_lines(cluster: str, layout: Layout, found: dict[TotalKey, list[int | None]]) -> Sequence[list[int | None]]:
    """For each line of a layout the sums that it belongs to."""
    of_place: dict[tuple[int, int], list[int | None]] = {}
    for place in set(zip(layout.owner, layout.device, strict=True)):
        kind, namespace, *_ = layout.owners[place[0]]
        nothing: list[int | None] = [*(0,) * len(TIMES), *(None,) * _ENERGIES]
        of_place[place] = found.setdefault((cluster, str(kind), str(namespace), layout.models[place[1]]), nothing)
    return [of_place[place] for place in zip(layout.owner, layout.device, strict=True)]


def _add(rows: Sequence[list[int | None]], place: int, column: Amounts) -> None:
    for row, amount in zip(rows, column, strict=True):
        if amount is not None:
            row[place] = (row[place] or 0) + amount
