"""A filter says exactly which postings count, the same in SQL as in Python, or where it cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select

from gputally.collector.allocation.filter import EVERYTHING, KEYS, Clause, Filter, FilterError, Operator, parse_filter
from gputally.collector.allocation.grouping import By
from gputally.collector.database.schema import node

OPERATORS = st.sampled_from(list(Operator))
NAMES = st.text(st.sampled_from('abAB%_\\" +,:'), max_size=4)
VALUES = st.lists(NAMES, min_size=1, max_size=3)


def test_values_of_one_key_are_alternatives_and_clauses_hold_together() -> None:
    found = parse_filter('namespace:"a","b"+model!:"T4" node<~:"gpu-" + team!<~:"x"')
    assert found.clauses == (
        Clause(By.NAMESPACE, Operator.IS, ("a", "b")),
        Clause(By.MODEL, Operator.IS_NOT, ("T4",)),
        Clause(By.NODE, Operator.BEGINS, ("gpu-",)),
        Clause(By.TEAM, Operator.BEGINS_NOT, ("x",)),
    )


def test_an_empty_filter_lets_everything_in() -> None:
    assert parse_filter("  ") == EVERYTHING
    assert EVERYTHING.holds({})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('namespac:"a"', "unknown key namespac: did you mean namespace?"),
        ('state:"idle"', "unknown key state"),
        ("namespace:a", 'expected key:"value"'),
        ('namespace:"a"pod:"b"', "expected + between"),
        ('namespace:"a', 'expected key:"value"'),
        ('namespace:"\x00"', "NUL"),
        ("x" * 5000, "longer than 4096"),
        ('pod:"",' + ",".join(['""'] * 250), "more than 200 values"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert message in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_mistake(text: str) -> None:
    try:
        found = parse_filter(text)
    except FilterError:
        return
    assert bool(found.clauses) == bool(text.strip())


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.tuples(st.sampled_from(KEYS), OPERATORS, VALUES)))
def test_what_is_written_is_read_back(parts: list[tuple[By, Operator, list[str]]]) -> None:
    text = "+".join(f"{key}{operator}{','.join(map(quoted, values))}" for key, operator, values in parts)
    assert parse_filter(text) == Filter(tuple(Clause(key, operator, tuple(values)) for key, operator, values in parts))


@given(OPERATORS, VALUES, st.lists(NAMES, max_size=6, unique=True))
def test_the_database_decides_as_python_does(operator: Operator, values: list[str], names: list[str]) -> None:
    clause = Clause(By.NODE, operator, tuple(values))
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        node.create(connection)
        for name in names:
            connection.execute(insert(node), {"cluster": "east", "name": name})
        found = connection.scalars(select(node.c.name).where(clause.fits(node.c.name))).all()
    engine.dispose()
    assert sorted(found) == sorted(name for name in names if clause.holds(name))
