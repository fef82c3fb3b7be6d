"""Lines as CSV: one line each, unknown empty; written as they are read."""

import csv
from typing import TextIO

from gputally.collector.exports.record import COLUMNS, Records
from gputally.collector.statement.ground import Ground


def write_csv(ground: Ground, out: TextIO) -> None:
    """All lines of a month below a line of names."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in COLUMNS)
    writer.writerows(Records(ground))
