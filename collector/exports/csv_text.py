"""Fields and lines as CSV has them; a line ends with a line feed alone."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def fields(values: Iterable[object]) -> str:
    """Some fields of a line, quoted where they have to be, without the line's end; None is empty."""
    out = io.StringIO()
    # The first field keeps a single empty one from being quoted. What is in the line's end is quoted, and for readers
    # a bare \r is one.
    csv.writer(out, lineterminator="\r\n").writerow(["", *values])
    return out.getvalue()[1:-2]


def as_lines(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A line of names and one for each row; what a row does not have is empty."""
    lines = (names, *([row.get(name) for name in names] for row in rows))
    return "".join(fields(line) + "\n" for line in lines)
