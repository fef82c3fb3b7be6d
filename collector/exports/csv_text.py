"""Fields as CSV has them, where they are not written by a writer line by line."""

import csv
import io
from collections.abc import Iterable


def fields(values: Iterable[object]) -> str:
    """Some fields of a line, quoted where they have to be, without the line's end; None is empty."""
    out = io.StringIO()
    # The first field keeps a single empty one from being quoted. What is in the line's end is quoted, and for readers
    # a bare \r is one.
    csv.writer(out, lineterminator="\r\n").writerow(["", *values])
    return out.getvalue()[1:-2]
