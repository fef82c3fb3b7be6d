"""Fields and lines as CSV has them; a line ends with a line feed alone."""

import re
from collections.abc import Iterable, Mapping, Sequence

_QUOTED = re.compile('[",\r\n]').search  # for readers a bare \r is an end of a line, too


def fields(values: Iterable[object]) -> str:
    """Some fields of a line, quoted where they have to be, without the line's end; None is empty."""
    return ",".join([field(value) for value in values])


def field(value: object) -> str:
    """One of them."""
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED(text) else text


def as_lines(names: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A line of names and one for each row; what a row does not have is empty."""
    lines = (names, *([row.get(name) for name in names] for row in rows))
    return "".join(fields(line) + "\n" for line in lines)
