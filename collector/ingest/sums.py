"""What the lines of windows add up to for each namespace and model: the growth of the fleet's counters."""

from collections.abc import Iterable, Mapping, Sequence

from gputally.collector.ingest.columns import Amounts, WindowColumns
from gputally.collector.ledger.totals import Sums, TotalKey
from gputally.proto.columns import TIMES

_ENERGIES = 2  # idle and dynamic


def sums_of(windows: Iterable[WindowColumns]) -> Mapping[TotalKey, Sums]:
    """The sums by cluster, kind of owner, namespace and model; an energy is None where none of its lines knows it."""
    found: dict[TotalKey, list[int | None]] = {}
    for window in windows:
        rows = _rows_of_lines(window, found)
        for place, column in enumerate(window.lines.times):
            if any(column):
                _add(rows, place, column)
        _add(rows, len(TIMES), window.lines.energy_idle_mj)
        _add(rows, len(TIMES) + 1, window.lines.energy_dynamic_mj)
    return found


def _rows_of_lines(window: WindowColumns, found: dict[TotalKey, list[int | None]]) -> Sequence[list[int | None]]:
    """For each line of a window the sums that it belongs to."""
    of_place: dict[tuple[int, str], list[int | None]] = {}
    rows = []
    for device, owner in zip(window.lines.device, window.lines.owner, strict=True):
        model = window.devices[device].model
        row = of_place.get((owner, model))
        if row is None:
            kind, namespace, *_ = window.owners[owner]
            nothing: list[int | None] = [*(0,) * len(TIMES), *(None,) * _ENERGIES]
            row = found.setdefault((window.cluster, str(kind), str(namespace), model), nothing)
            of_place[owner, model] = row
        rows.append(row)
    return rows


def _add(rows: Sequence[list[int | None]], place: int, column: Amounts) -> None:
    for row, amount in zip(rows, column, strict=True):
        if amount is not None:
            row[place] = (row[place] or 0) + amount
