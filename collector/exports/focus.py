"""A month as a FOCUS file with its metadata beside it.

A row is a state's time of a posting, its energy, or what the building draws besides. Time that has no price cannot be
a row; it is refused, or left out and told in the metadata. Rows that are written and what was left out add up to the
ledger.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

from gputally.collector.exports.csv_text import fields
from gputally.collector.exports.focus_charge import Charge, Figures, Printed, Skipped, charges
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

    def add(self, some: Sequence[Charge], printed: Printed) -> None:
        """Add rows."""
        self.rows += len(some)
        self.billed += sum(printed.cost)
        for charge, quantity in zip(some, printed.quantity, strict=True):
            if charge.meter is Meter.GPU:
                self.gpu_hours += quantity
            elif charge.meter is Meter.ENERGY:
                self.kwh += quantity


def write_focus(ground: Ground, path: Path, options: Options) -> Totals:
    """Write the file and its metadata beside it; raises Unpriced, before anything is written, and NotFocus."""
    figures, skipped = Figures(), Skipped()
    settle(figures.roundings, lambda asking: _look(ground, figures, asking, skipped))
    if skipped.by_name and not options.skip_unpriced:
        raise Unpriced(skipped.hours)
    totals = _write_rows(ground, path, options, figures)
    metadata_path(path).write_text(_metadata(ground, path, options, totals, skipped), encoding="utf-8")
    return totals


def metadata_path(path: Path) -> Path:
    """Where the metadata of a file stands."""
    return path.with_name(path.name + ".metadata.json")


def _look(ground: Ground, figures: Figures, asking: Sequence[Rounding], skipped: Skipped) -> None:
    """One reading of all lines. What is skipped is counted in the first of them, when all roundings still ask."""
    count = skipped if len(asking) == len(figures.roundings) else Skipped()
    for block in ground.blocks():
        figures.look(charges(block, count), asking)


def _write_rows(ground: Ground, path: Path, options: Options, figures: Figures) -> Totals:
    totals, checker = Totals(), Checker(options.version)
    shaper, names = Shaper(RowMaker(ground, options.biller), options.version), columns(options.version)
    with path.open("w", encoding="utf-8", newline="") as out:
        out.write(fields(names) + "\n")
        checker.header(names)
        for some, ratios in _charges(ground, options.version):
            printed = figures.printed(some)
            rows = shaper.rows(some, printed, ratios)
            checker.rows(rows)
            out.writelines(rows.lines())
            totals.add(some, printed)
    findings = checker.finish()
    if findings:
        raise NotFocus("; ".join(findings[:3]))
    return totals


def _charges(ground: Ground, version: Version) -> Iterator[tuple[Sequence[Charge], Sequence[str | None]]]:
    """The charges of all lines, each with its part of its device's hour where the version has a column for it."""
    for block in ground.blocks() if version is not Version.V1_3 else ():
        some = charges(block, Skipped())
        yield some, [None] * len(some)
    if version is Version.V1_3:
        yield from _with_parts(ground)


def _with_parts(ground: Ground) -> Iterator[tuple[Sequence[Charge], Sequence[str | None]]]:
    """Some thousands at a time, but a device's hour at once."""
    some: list[Charge] = []
    parts: list[str | None] = []
    every = chain.from_iterable(charges(block, Skipped()) for block in ground.blocks())
    for (hour_us, *_), of_device in groupby(every, key=_device_hour):
        found = list(of_device)
        whole = hour_us >= ground.month.start_us  # a correction is no part of an hour
        some += found
        parts += _ratios(found) if whole else [None] * len(found)
        if len(some) >= ROWS:
            yield some, parts
            some, parts = [], []
    if some:
        yield some, parts


def _device_hour(charge: Charge) -> tuple[int, str, str, str]:
    of = charge.account.holding
    return charge.hour_us, of.cluster, of.node, of.uuid


def _ratios(found: Sequence[Charge]) -> list[str | None]:
    """Parts of the whole that add up to 1, of the charges for time."""
    times = [charge.quantity for charge in found if charge.meter is Meter.GPU]
    parts = iter(rounded(times, sum(times), DIGITS) if times else [])
    return [fixed(next(parts), DIGITS) if charge.meter is Meter.GPU else None for charge in found]


def _metadata(ground: Ground, path: Path, options: Options, totals: Totals, skipped: Skipped) -> str:
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
        "x_File": {"Name": path.name, "Sha256": _sha256(path), "Rows": totals.rows},
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
