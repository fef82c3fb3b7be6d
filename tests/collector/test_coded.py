"""Words that stand in tables as numbers, and amounts that are nearly always nothing: statements do not notice."""

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, case, func, insert, select
from sqlalchemy.exc import StatementError

from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.database.coded import BASIS, REASON, SOURCE, Coded
from gputally.collector.database.engine import writing
from gputally.collector.database.seldom import Seldom

row = Table("row", MetaData(), Column("id", Integer, primary_key=True), Column("why", REASON), Column("us", Seldom))


@pytest.mark.parametrize(("kind", "words"), [(BASIS, Basis), (REASON, Reason), (SOURCE, Source)])
def test_every_word_has_a_number(kind: Coded, words: type[Basis | Reason | Source]) -> None:
    """Also one that comes to the vocabulary later."""
    numbers = [code for _, code in kind.words]
    assert {word for word, _ in kind.words} == {word.value for word in words}
    assert len(set(numbers)) == len(numbers)
    assert 0 <= min(numbers) <= max(numbers) < 2**15


@pytest.mark.parametrize("kind", [BASIS, REASON])
def test_rows_are_sorted_as_their_words(kind: Coded) -> None:
    """What is read in the order of a key is in the order that it always had."""
    assert [word for word, _ in sorted(kind.words, key=lambda pair: pair[1])] == sorted(word for word, _ in kind.words)


def test_the_less_certain_a_source_the_larger_its_number() -> None:
    """So that the least certain of an hour is the maximum; `none` only where nothing else was measured."""
    code = dict(SOURCE.words)
    for one in Source:
        for other in Source:
            assert max(one, other, key=code.__getitem__) == one.least_certain(other)


def test_statements_use_the_words(engine: Engine) -> None:
    """Compared, grouped, chosen from and summed up."""
    with writing(engine) as connection:
        row.create(connection)
        words = [Reason.NONE, Reason.NO_SAMPLE, Reason.NO_SAMPLE, Reason.TWO_HOLDERS]
        connection.execute(insert(row), [{"why": why.value, "us": 0} for why in words])
        why = row.c.why
        counts = connection.execute(select(why, func.count()).group_by(why).order_by(why.desc())).all()
        assert [tuple(each) for each in counts] == [("two-holders", 1), ("no-sample", 2), ("", 1)]
        among = select(func.count()).where(why.in_(["no-sample", "two-holders"]), why != "two-holders")
        assert connection.execute(among).scalar_one() == 2
        assert connection.execute(select(func.max(why))).scalar_one() == "two-holders"
        chosen = select(func.sum(case((why == Reason.NONE.value, 1), else_=0)))
        assert connection.execute(chosen).scalar_one() == 1


def test_a_word_that_is_none_of_them_is_an_error(engine: Engine) -> None:
    """It would be a bug; nothing stands in for it."""
    with writing(engine) as connection:
        row.create(connection)
        with pytest.raises(StatementError, match="coffee"):
            connection.execute(insert(row).values(why="coffee"))


def test_nothing_takes_no_room_and_is_still_known(engine: Engine) -> None:
    """0 goes in and 0 comes out; in between it is NULL, which conditions see."""
    with writing(engine) as connection:
        row.create(connection)
        connection.execute(insert(row), [{"why": "", "us": us} for us in (0, 7, 2**40)])
        assert connection.execute(select(row.c.us).order_by(row.c.id)).scalars().all() == [0, 7, 2**40]
        assert connection.execute(select(row.c.id).where(row.c.us > 0)).scalars().all() == [2, 3]
        assert connection.execute(select(row.c.id).where(row.c.us.is_(None))).scalars().all() == [1]
        assert connection.execute(select(func.sum(row.c.us))).scalar_one() == 7 + 2**40
        assert connection.execute(select(func.sum(row.c.us)).where(row.c.id == 1)).scalar_one() == 0
