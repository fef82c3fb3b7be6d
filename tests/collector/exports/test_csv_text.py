"""CSV as all of our answers have it: whatever stands in a name, it comes back, and begins no line."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.exports.csv_text import as_lines, fields

TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), max_size=5))
def test_texts_come_back_as_they_are(rows: list[dict[str, str]]) -> None:
    assert list(csv.DictReader(io.StringIO(as_lines(["a", "b"], rows), newline=""))) == rows


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_no_end_of_a_line_in_a_name_ends_a_line(end: str) -> None:
    assert as_lines(["a", "b"], [{"a": f"x{end}y", "b": 1}]) == f'a,b\n"x{end}y",1\n'


def test_what_is_unknown_or_not_there_is_empty() -> None:
    assert as_lines(["a", "b", "c"], [{"a": None, "c": 0.5}]) == "a,b,c\n,,0.5\n"


@given(st.lists(st.one_of(st.none(), st.integers(), TEXTS), max_size=5))
def test_fields_are_written_as_pythons_writer_writes_them(values: list[object]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(["first", *values])
    assert ",".join(["first", *map(str, [fields(values)] if values else [])]) == out.getvalue()[:-2]
