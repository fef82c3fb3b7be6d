"""The door to the database: which URLs are taken, and what a transaction promises."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError
from tests.databases import FLUSHING

from gputally.collector.database import engine as engine_module
from gputally.collector.database.engine import (
    DATABASE_ERRORS,
    DatabaseUrlError,
    is_sqlite,
    open_database,
    reading,
    upsert,
    writing,
)
from gputally.collector.database.schema import dirty_hour, node


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/db", "postgresql+asyncpg://u:secret@h/db", "sqlite+aiosqlite:///x"]
)
def test_an_unknown_kind_of_database_is_refused_with_what_is_accepted(url: str) -> None:
    """The line names both kinds, and never the password."""
    with pytest.raises(DatabaseUrlError, match=r"sqlite:.*postgresql:") as refused:
        open_database(url)
    assert "secret" not in str(refused.value)


def test_a_url_that_cannot_be_read_is_refused_without_repeating_it() -> None:
    """It may hold a password all the same."""
    with pytest.raises(DatabaseUrlError, match="cannot be read") as refused:
        open_database("secret")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    """Each thread would see a database of its own."""
    with pytest.raises(DatabaseUrlError, match="needs a file"):
        open_database(url)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_by_psycopg_3(scheme: str) -> None:
    """The plain URL that every other tool takes is enough."""
    assert open_database(f"{scheme}://u@h/db").url.drivername == "postgresql+psycopg"


def test_the_folder_of_a_sqlite_file_is_made(tmp_path: Path) -> None:
    """The first start on a fresh machine needs nothing before it."""
    engine = open_database(f"sqlite:///{tmp_path}/new/folder/gputally.sqlite")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_sqlite_flushes_every_commit_and_lets_readers_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is acknowledged once it is committed, so a commit is on the disk (synchronous 2 is FULL)."""
    monkeypatch.setattr(engine_module, "_prepare_sqlite", FLUSHING)  # which other tests do without
    engine = open_database(f"sqlite:///{tmp_path}/gputally.sqlite")
    with reading(engine) as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    engine.dispose()


def test_foreign_keys_are_kept(engine: Engine) -> None:
    """SQLite does not keep them unless it is told to."""
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(dirty_hour).values(hour_us=0, node_id=7))


def test_a_block_that_raises_leaves_nothing(engine: Engine) -> None:
    """A transaction is whole or not at all."""
    with pytest.raises(ZeroDivisionError):
        _write_and_fail(engine)
    assert _nodes(engine) == 0


def test_a_reader_sees_one_state_while_a_writer_commits(engine: Engine) -> None:
    """A report's totals equal the sum of its rows, although windows arrive between its statements."""
    with reading(engine) as reader:
        before = reader.execute(select(func.count()).select_from(node)).scalar()
        with writing(engine) as writer:
            writer.execute(insert(node).values(cluster="c", name="n"))
        assert reader.execute(select(func.count()).select_from(node)).scalar() == before == 0
    assert _nodes(engine) == 1


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_who_waited_for_a_lock_sees_what_came_before_whatever_the_servers_default(database_url: str) -> None:
    """Sums of days and months are made and dropped by who sees what the holder of the lock before has committed."""
    engine = open_database(f"{database_url}&options=-cdefault_transaction_isolation%3Dserializable")
    for begin, level in ((reading, "repeatable read"), (writing, "read committed")):
        with begin(engine) as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar() == level
    engine.dispose()


def test_a_reading_connection_goes_back_as_it_was(engine: Engine) -> None:
    """The pool's next user of that connection can write again."""
    with reading(engine):
        pass
    with writing(engine) as connection:
        connection.execute(insert(node).values(cluster="c", name="n"))
    assert _nodes(engine) == 1


def test_writers_of_two_engines_take_turns(database_url: str) -> None:
    """Two processes that read and then write at once: both succeed, and no row is lost."""
    together = threading.Barrier(2)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        engine = open_database(database_url)
        together.wait(60)
        try:
            for at in range(20):
                _read_then_write(engine, f"{name}{at}")
        except Exception as error:  # noqa: BLE001 - the assertion below prints it
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    engine = open_database(database_url)
    assert _nodes(engine) == 40
    engine.dispose()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite prepares again by itself
def test_a_replica_that_runs_while_another_migrates_goes_on(database_url: str, engine: Engine) -> None:
    """Statements name their columns, so new ones do not matter; a plan that became invalid fails like a database that
    is away, and not a second time: whoever tries again is served."""
    named, starred = select(node), text("SELECT * FROM node")
    for _ in range(8):  # psycopg prepares what comes often
        with reading(engine) as connection:
            connection.execute(named).all()
            connection.execute(starred).all()
    migrating = open_database(database_url)
    with writing(migrating) as connection:
        connection.execute(text("ALTER TABLE node ADD COLUMN more TEXT"))
    migrating.dispose()
    with reading(engine) as connection:
        connection.execute(named).all()
    with pytest.raises(DATABASE_ERRORS, match="cached plan"), reading(engine) as connection:
        connection.execute(starred)
    with reading(engine) as connection:
        connection.execute(starred).all()


def test_an_upsert_may_ignore_a_conflict(engine: Engine) -> None:
    """The same statement on both databases."""
    for _ in range(2):
        with writing(engine) as connection:
            connection.execute(upsert(connection, node).on_conflict_do_nothing(), {"cluster": "c", "name": "n"})
    assert _nodes(engine) == 1


def test_the_kind_of_database_is_known(engine: Engine, database_kind: str) -> None:
    """SQLite or PostgreSQL, nothing else."""
    assert is_sqlite(engine) == (database_kind == "sqlite")


def _write_and_fail(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(node).values(cluster="c", name="n"))
        raise ZeroDivisionError


def _read_then_write(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        connection.execute(select(func.count()).select_from(node)).scalar()
        connection.execute(insert(node).values(cluster="c", name=name))


def _nodes(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(node)).scalar_one()
