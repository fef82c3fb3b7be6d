"""A question that takes too long is given up by the database itself, and the connection is good afterwards."""

import pytest
from sqlalchemy import Engine, text

from gputally.collector.database.deadline import TooSlow, reading_within
from gputally.collector.database.engine import DATABASE_ERRORS, is_sqlite

LONG = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1000000000) SELECT max(n) FROM t"


def test_what_is_quick_is_answered(engine: Engine) -> None:
    with reading_within(engine, 30) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_what_is_slow_is_given_up_and_the_next_is_answered(engine: Engine) -> None:
    with pytest.raises(TooSlow, match=r"longer than 0\.2 s"), reading_within(engine, 0.2) as connection:
        connection.execute(text(LONG if is_sqlite(engine) else "SELECT pg_sleep(60)"))
    with reading_within(engine, 30) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_another_error_stays_what_it_is(engine: Engine) -> None:
    with pytest.raises(DATABASE_ERRORS), reading_within(engine, 30) as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_the_limit_ends_with_the_question(engine: Engine) -> None:
    with reading_within(engine, 0.05):
        pass
    with engine.connect() as connection:
        if is_sqlite(engine):
            assert connection.scalar(text(LONG.replace("1000000000", "300000"))) == 300_000
        else:
            assert connection.scalar(text("SHOW statement_timeout")) == "0"
