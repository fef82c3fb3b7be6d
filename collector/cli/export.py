"""`gputally export`: a month's lines as a file: CSV, JSON, Parquet, or FOCUS with its metadata."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gputally.collector.cli.database import DatabaseUrl, Timezone, choice, fail, ledger
from gputally.collector.cli.statement import MonthName, asked_month, told
from gputally.collector.exports.focus import BILLER, NotFocus, Options, Unpriced, metadata_path, write_focus
from gputally.collector.exports.focus_columns import Version
from gputally.collector.exports.focus_row import Biller
from gputally.collector.exports.garbage import seldom_looked_for
from gputally.collector.exports.lines_csv import write_csv
from gputally.collector.exports.lines_json import write_json
from gputally.collector.exports.parquet import ParquetMissing, load, write_parquet
from gputally.collector.statement.ground import Ground, ground
from gputally.collector.statement.spool import NoRoom

UNPRICED_STATUS = 3  # the command's, where time without a price keeps it from writing FOCUS


class Format(StrEnum):
    """What can be written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    FOCUS = "focus"


_TO_FILES = (Format.PARQUET, Format.FOCUS)


FormatName = Annotated[str, typer.Option(help="What to write.", metavar="|".join(Format))]
Out = Annotated[str, typer.Option(help="FILE to write; - is standard output (CSV and JSON only).", metavar="FILE")]
FocusVersion = Annotated[
    str, typer.Option(help="Of FOCUS; 1.3 adds the split-allocation columns.", metavar="|".join(Version))
]
Provider = Annotated[
    str, typer.Option(help="FOCUS: who provides the platform and issues its invoices.", metavar="NAME")
]
SkipUnpriced = Annotated[
    bool, typer.Option("--skip-unpriced", help="FOCUS: leave out what has no price; the metadata say how much.")
]


def export(
    month: MonthName,
    format: FormatName = Format.CSV.value,  # noqa: A002 - the flag's name
    out: Out = "-",
    focus_version: FocusVersion = Version.V1_2.value,
    provider: Provider = BILLER.name,
    skip_unpriced: SkipUnpriced = False,
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
) -> None:
    """Write every line of a month: a posting with its price. The file adds up to the ledger.

    FOCUS has no row for time without a price: then nothing is written and the status is 3, unless --skip-unpriced.

    Examples:

        gputally export 2026-11 > lines.csv

        gputally export 2026-11 --format focus --out focus.csv
    """
    mistakes: list[str] = []
    form = choice("--format", format, Format, mistakes)
    version = choice("--focus-version", focus_version, Version, mistakes)
    if out == "-" and form in _TO_FILES:
        mistakes.append(f"--format {form} is written to a file: give --out FILE")
    settings, asked = asked_month(month, database_url, timezone, mistakes)
    if form is Format.PARQUET:
        _check_parquet()
    options = Options(version, Biller(provider), skip_unpriced)
    with ledger(settings) as engine, told(), seldom_looked_for(), ground(engine, settings.zone, asked) as found:
        try:
            _export(found, form, out, options)
        except NoRoom as error:
            fail(1, [str(error)])


def _export(found: Ground, form: Format, out: str, options: Options) -> None:
    if out == "-":
        _WRITERS[form](found, sys.stdout)
    else:
        _write(found, form, Path(out), options)


_WRITERS: dict[Format, Callable[[Ground, TextIO], None]] = {Format.CSV: write_csv, Format.JSON: write_json}


def _check_parquet() -> None:
    """Before the ledger is read."""
    try:
        load()
    except ParquetMissing as error:
        fail(1, [str(error)])


def _write(found: Ground, form: Format, path: Path, options: Options) -> None:
    """Write beside the file and put it into its place when it is whole: nobody reads half a month."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".gputally-") as folder:
            draft = Path(folder) / path.name
            _write_draft(found, form, draft, options)
            for file in (draft, metadata_path(draft)):
                if file.exists():
                    file.replace(path.with_name(file.name))
    except OSError as error:
        fail(1, [f"{path} cannot be written: {error.strerror}"])


def _write_draft(found: Ground, form: Format, path: Path, options: Options) -> None:
    if form is Format.FOCUS:
        _write_focus(found, path, options)
    elif form is Format.PARQUET:
        write_parquet(found, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as out:
            _WRITERS[form](found, out)


def _write_focus(found: Ground, path: Path, options: Options) -> None:
    try:
        totals = write_focus(found, path, options)
    except Unpriced as error:
        fail(UNPRICED_STATUS, _how_to_go_on(error.names))
    except NotFocus as error:
        fail(1, [f"the rows break FOCUS, which is an error of gputally: {error}"])
    sys.stderr.write(f"gputally: {totals.rows} rows\n")


def _how_to_go_on(names: Sequence[str]) -> list[str]:
    rest = [f"and {len(names) - 20} more"] if len(names) > 20 else []
    return [
        *(f"unpriced: {name}" for name in [*names[:20], *rest]),
        "FOCUS has no row for time without a price: give it one (gputally rates apply), or --skip-unpriced",
    ]
