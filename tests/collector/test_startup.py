"""A database that is not there yet is waited for, and said to be missing."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from gputally.collector.database.engine import open_database, writing
from gputally.collector.database.migrate import is_current
from gputally.collector.database.startup import Database
from gputally.collector.settings import shown

NOWHERE = "postgresql://ann:secret@127.0.0.1:1/ledger"
DEADLINE_S = 60


def nobody(engine: Engine) -> None:
    """Claims nothing."""


def test_a_database_that_answers_is_migrated(empty_database_url: str) -> None:
    engine = open_database(empty_database_url)
    database = Database(engine, "it", retry_s=1, claim=nobody)
    assert database.problem
    assert asyncio.run(database.migrated(asyncio.Event()))
    assert database.problem == ""
    assert is_current(engine)
    engine.dispose()


def test_one_that_does_not_is_named_without_its_password_until_the_stop() -> None:
    async def scenario() -> None:
        database = Database(open_database(NOWHERE), shown(NOWHERE), retry_s=3600, claim=nobody)
        stop = asyncio.Event()
        waiting = asyncio.ensure_future(database.migrated(stop))
        async with asyncio.timeout(DEADLINE_S):
            while "cannot be reached" not in database.problem:
                await asyncio.sleep(0)
        assert "postgresql://ann:***@127.0.0.1:1/ledger" in database.problem
        assert "secret" not in database.problem
        stop.set()
        assert not await waiting

    asyncio.run(scenario())


def test_one_that_comes_up_later_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    engine = open_database(f"sqlite:///{folder / 'ledger.sqlite'}")
    folder.rmdir()

    async def scenario() -> None:
        database = Database(engine, "it", retry_s=0.001, claim=nobody)
        waiting = asyncio.ensure_future(database.migrated(asyncio.Event()))
        async with asyncio.timeout(DEADLINE_S):
            while "cannot be reached" not in database.problem:
                await asyncio.sleep(0)
            folder.mkdir()
            assert await waiting

    asyncio.run(scenario())
    assert is_current(engine)
    engine.dispose()


def test_a_migration_that_fails_says_so_and_is_tried_again(empty_database_url: str) -> None:
    """Here a table of that name is in the way, until somebody removes it."""
    engine = open_database(empty_database_url)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE quarantine (id INTEGER)"))

    async def scenario() -> None:
        database = Database(engine, "it", retry_s=0.001, claim=nobody)
        waiting = asyncio.ensure_future(database.migrated(asyncio.Event()))
        async with asyncio.timeout(DEADLINE_S):
            while "cannot be migrated" not in database.problem:
                await asyncio.sleep(0)
            assert "quarantine" in database.problem
            with writing(engine) as connection:
                connection.execute(text("DROP TABLE quarantine"))
            assert await waiting
        assert database.problem == ""

    asyncio.run(scenario())
    assert is_current(engine)
    engine.dispose()


def test_one_that_may_not_be_used_is_not_tried_again(engine: Engine) -> None:
    def claim(engine: Engine) -> None:
        raise ValueError("it is somebody else's")

    with pytest.raises(ValueError, match="somebody else's"):
        asyncio.run(Database(engine, "it", retry_s=3600, claim=claim).migrated(asyncio.Event()))
