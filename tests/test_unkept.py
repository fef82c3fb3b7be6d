"""The test of the tests' own eye: what the database does not keep is seen where it is broken."""

from sqlalchemy import Engine, delete, insert, select
from tests.statements import book
from tests.unkept import faults
from tests.windows import minutes

from gputally.collector.database.engine import is_sqlite, reading, writing
from gputally.collector.database.schema import device, line, posting


def test_nothing_is_wrong_with_what_the_collector_writes(engine: Engine) -> None:
    book(engine, minutes(3))
    with reading(engine) as connection:
        assert faults(connection) == []


def test_an_id_that_points_nowhere_is_seen(engine: Engine) -> None:
    """From each table that has it."""
    book(engine, minutes(3))
    with writing(engine) as connection:
        connection.execute(delete(line).where(line.c.window_id == 2))
        connection.execute(line.update().values(owner_id=99))
        assert faults(connection) == ["line: 2 point to no owner"]


def test_a_posting_that_stands_there_twice_is_seen(engine: Engine) -> None:
    """SQLite has the rows by their key, so that there it cannot be."""
    if is_sqlite(engine):
        return
    book(engine, minutes(3))
    with writing(engine) as connection:
        connection.execute(insert(posting).from_select(list(posting.c), select(posting).where(posting.c.used_us > 0)))
        assert faults(connection) == ["posting: 1 keys come twice"]
    assert device.name == "device"
