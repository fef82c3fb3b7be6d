"""A month as a FOCUS file with its metadata beside it.

A row is a state's time of a posting, its energy, or what the building draws besides. Time that has no price cannot be
a row; it is refused, or left out and told in the metadata. Rows that are written and what was left out add up to the
ledger.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from gputally.collector.exports.csv_text import fields
from gputally.collector.exports.focus_charge import (
    METERS,
    Charger,
    Charges,
    Figures,
    Printed,
    Row,
    Skipped,
    of_rows,
)
from gputally.collector.exports.focus_check import Checker
from gputally.collector.exports.focus_columns import Version, columns, data_type
from gputally.collector.exports.focus_row import Biller, RowMaker
from gputally.collector.exports.focus_text import Shaper
from gputally.collector.exports.record import instant_text
from gputally.collector.statement.block import ROWS
from gputally.collector.statement.ground import Ground
from gputally.collector.statement.item import Meter
from gputally.collector.statement.rounding import DIGITS, HOUR, Rounding, fixed, rounded, settle

BILLER = Biller()


class Unpriced(RuntimeError):
    """Time without a price, which FOCUS has no row for; `names` say what and how much."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("; ".join(names))
        self.names = tuple(names)


class NotFocus(RuntimeError):
    """Rows that break the specification: an error of this program. The file is not to be used."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which version, who bills, and whether time without a price is left out."""

    version: Version = Version.V1_2
    biller: Biller = BILLER
    skip_unpriced: bool = False


@dataclass(slots=True)
class Totals:
    """What the rows come to, in units of 10⁻⁹."""

    rows: int = 0
    gpu_hours: int = 0
    kwh: int = 0
    billed: int = 0

    def add(self, printed: Printed) -> None:
        """Add rows."""
        self.rows += len(printed.cost)
        self.billed += sum(printed.cost)
        sums = dict(zip(METERS, printed.of_meter, strict=True))
        self.gpu_hours += sums[Meter.GPU]
        self.kwh += sums[Meter.ENERGY]


def write_focus(ground: Ground, path: Path, options: Options) -> Totals:
    """Write the file and its metadata beside it; raises Unpriced, before anything is written, and NotFocus."""
    figures, skips = Figures(), list[Skipped]()
    settle(figures.roundings, lambda asking: skips.append(_look(ground, figures, asking)))
    skipped = skips[-1]  # each look finds the same
    if skipped.by_name and not options.skip_unpriced:
        raise Unpriced(skipped.hours)
    totals, sha256 = _write_rows(ground, path, options, figures)
    metadata = _metadata(ground, path.name, options, totals, skipped, sha256)
    metadata_path(path).write_text(metadata, encoding="utf-8")
    return totals


def metadata_path(path: Path) -> Path:
    """Where the metadata of a file stands."""
    return path.with_name(path.name + ".metadata.json")


def _look(ground: Ground, figures: Figures, asking: Sequence[Rounding]) -> Skipped:
    """One reading of all lines; what is skipped."""
    charger, skipped = Charger(ground.month.start_us), Skipped()
    for block in ground.blocks():
        figures.look(charger.charges(block, skipped), asking)
    return skipped


def _write_rows(ground: Ground, path: Path, options: Options, figures: Figures) -> tuple[Totals, str]:
    """What the rows come to, and the file's SHA-256."""
    totals, checker, digest = Totals(), Checker(options.version), hashlib.sha256()
    shaper, names = Shaper(RowMaker(ground, options.biller), options.version), columns(options.version)
    checker.header(names)
    with path.open("wb") as out:
        for text in chain([fields(names) + "\n"], _texts(ground, options, figures, shaper, checker, totals)):
            data = text.encode()
            digest.update(data)
            out.write(data)
    findings = checker.finish()
    if findings:
        raise NotFocus("; ".join(findings[:3]))
    return totals, digest.hexdigest()


def _texts(
    ground: Ground, options: Options, figures: Figures, shaper: Shaper, checker: Checker, totals: Totals
) -> Iterator[str]:
    """The rows, many at a time, after they were checked."""
    for some, ratios in _charges(ground, options.version):
        printed = figures.printed(some)
        rows = shaper.rows(some, printed, ratios)
        checker.rows(rows)
        totals.add(printed)
        yield from rows.texts()


def _charges(ground: Ground, version: Version) -> Iterator[tuple[Charges, Sequence[str | None]]]:
    """The charges of all lines, each with its part of its device's hour; no parts where there is no column for it."""
    charger = Charger(ground.month.start_us)
    every = (charger.charges(block, Skipped()) for block in ground.blocks())
    return _with_parts(every) if version is Version.V1_3 else ((some, ()) for some in every)


def _with_parts(every: Iterable[Charges]) -> Iterator[tuple[Charges, Sequence[str | None]]]:
    """Some thousands at a time, but a device's hour at once."""
    rows: list[Row] = []
    parts: list[str | None] = []
    for _, of_device in groupby(chain.from_iterable(some.rows() for some in every), key=_device_hour):
        found = list(of_device)
        corrects = found[0].sort.corrects  # a correction is no part of an hour
        rows += found
        parts += [None] * len(found) if corrects else _ratios(found)
        if len(rows) >= ROWS:
            yield of_rows(rows), parts
            rows, parts = [], []
    if rows:
        yield of_rows(rows), parts


def _device_hour(row: Row) -> tuple[int, str, str, str]:
    of = row.sort.account.holding
    return row.hour_us, of.cluster, of.node, of.uuid


def _ratios(found: Sequence[Row]) -> list[str | None]:
    """Parts of the whole that add up to 1, of the charges for time."""
    times = [row.quantity for row in found if METERS[row.sort.meter] is Meter.GPU]
    parts = iter(rounded(times, sum(times), DIGITS) if times else [])
    return [fixed(next(parts), DIGITS) if METERS[row.sort.meter] is Meter.GPU else None for row in found]


def _metadata(ground: Ground, name: str, options: Options, totals: Totals, skipped: Skipped, sha256: str) -> str:
    """What a reader of the file needs to know; `skipped` with the file's sums makes the ledger's."""
    names = columns(options.version)
    skipped_hours = rounded([skipped.us], HOUR, DIGITS)[0]
    document = {
        "DataGenerator": {"DataGenerator": "GPU Tally"},
        "Schema": {
            "SchemaId": f"gputally-focus-{options.version}",
            "FocusVersion": options.version.value,
            "ColumnDefinition": [{"ColumnName": name, "DataType": data_type(name)} for name in names],
        },
        "x_File": {"Name": name, "Sha256": sha256, "Rows": totals.rows},
        "x_Billing": {
            "Month": ground.month.name,
            "TimeZone": ground.zone.key,
            "PeriodStart": instant_text(ground.month.start_us),
            "PeriodEnd": instant_text(ground.month.end_us),
            "Status": "closed" if ground.closed else "open",
            "StatementHash": ground.closed.content_hash if ground.closed else None,
        },
        "x_Totals": {
            "GpuHours": fixed(totals.gpu_hours, DIGITS),
            "EnergyKwh": fixed(totals.kwh, DIGITS),
            "BilledCost": fixed(totals.billed, DIGITS),
        },
        "x_Skipped": {
            "Microseconds": skipped.us,
            "GpuHours": fixed(skipped_hours, DIGITS),
            "EnergyMillijoules": skipped.energy_idle_mj + skipped.energy_dynamic_mj,
            "Unpriced": skipped.hours,
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
