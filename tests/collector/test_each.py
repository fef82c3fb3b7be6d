"""All rows of a group come back, and a statement that depends on the database is put together once for each."""

from sqlalchemy import Connection, Engine, Select, insert, literal, select
from tests.databases import empty

from gputally.collector.database.built import built_once
from gputally.collector.database.each import each, rows_of
from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema_day import summed_day


def test_each_row_of_a_group_is_told_with_all_of_its_numbers(engine: Engine) -> None:
    """Also what is made of a difference, negative numbers and those of eight bytes; a group without any has none."""
    empty(engine)
    rows = [(day_us, 2**62 - day_us, 1) for day_us in range(12)]
    with writing(engine) as connection:
        connection.execute(insert(summed_day), [dict(zip(summed_day.c.keys(), row, strict=True)) for row in rows])
    day_us, end_us = summed_day.c.day_us, summed_day.c.end_us
    with reading(engine) as connection:
        found = connection.execute(select(each(day_us > 3, day_us - 5, end_us))).scalar_one()
        nothing = connection.execute(select(each(day_us > 100, day_us))).scalar_one()
    assert sorted(rows_of(found, 2)) == [(day - 5, end) for day, end, _ in rows if day > 3]
    assert nothing is None


def test_a_statement_is_built_once_for_a_kind_of_database(engine: Engine) -> None:
    built = []

    @built_once
    def which(connection: Connection) -> Select[str]:
        built.append(connection)
        return select(literal("sqlite" if is_sqlite(connection) else "postgresql"))

    for _ in range(2):
        with reading(engine) as connection:
            assert connection.execute(which(connection)).scalar_one() == engine.dialect.name
    assert len(built) == 1
