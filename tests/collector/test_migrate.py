"""Migration: the history leads to the tables of `schema.py`, however many replicas start at once."""

import threading
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from gputally.collector.database.engine import open_database, writing
from gputally.collector.database.migrate import UnknownRevision, is_current, migrate
from gputally.collector.database.schema import metadata


def test_the_history_leads_to_the_tables_of_the_schema(empty_database_url: str) -> None:
    """What the migrations build is what the statements are written against: alembic finds nothing to change."""
    engine = open_database(empty_database_url)
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": is_of_every_database}
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def is_of_every_database(item: Any, name: str, kind: str, reflected: bool, _other: Any) -> bool:
    """Pointers of large tables stand in no database, and some of their indexes only on PostgreSQL; alembic does not
    know that. The next test looks at these, too."""
    if kind == "foreign_key_constraint" and not reflected:
        return item.table.name not in ("window", "window_device", "line", "posting")
    return name not in ("ix_line_window_id", "ix_posting_hour_us_node_id", "ix_posting_day_day_us_node_id")


def test_migrated_and_created_databases_look_the_same(
    empty_database_url: str, database_url: str, database_kind: str, tmp_path: Any
) -> None:
    """Keys, constraints, their names, indexes and comments too, not only columns."""
    url = f"sqlite:///{tmp_path / 'created.sqlite'}" if database_kind == "sqlite" else empty_database_url
    created, migrated = open_database(url), open_database(database_url)
    metadata.create_all(created)
    assert _shape(migrated) == _shape(created)
    created.dispose()
    migrated.dispose()


def _shape(engine: Engine) -> dict[str, Any]:
    inspector = inspect(engine)
    return {name: _table_shape(engine, inspector, name) for name in metadata.tables}


def _table_shape(engine: Engine, inspector: Any, name: str) -> dict[str, Any]:
    columns = [(c["name"], str(c["type"]), c["nullable"], c.get("comment")) for c in inspector.get_columns(name)]
    shape = {
        "columns": columns,
        "key": inspector.get_pk_constraint(name),
        "unique": sorted(map(str, inspector.get_unique_constraints(name))),
        "foreign": sorted(map(str, inspector.get_foreign_keys(name))),
        "indexes": sorted(str(_readable(index)) for index in inspector.get_indexes(name)),
    }
    if engine.dialect.name == "sqlite":
        shape["options"] = inspector.get_table_options(name)
    else:
        shape["comment"] = inspector.get_table_comment(name)
    return shape


def _readable(index: Any) -> dict[str, Any]:
    """The condition of a partial index as its text."""
    return {**index, "dialect_options": {name: str(value) for name, value in index["dialect_options"].items()}}


def test_a_migrated_database_is_current_and_an_empty_one_is_not(empty_database_url: str) -> None:
    """Readiness asks this before it takes windows."""
    engine = open_database(empty_database_url)
    assert not is_current(engine)
    migrate(engine)
    assert is_current(engine)
    engine.dispose()


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    """Every start of a replica migrates."""
    migrate(engine)
    assert is_current(engine)


def test_replicas_that_start_at_once_take_turns(empty_database_url: str) -> None:
    """None of them fails because another one was faster."""
    replicas = 4
    together = threading.Barrier(replicas)
    failures: list[BaseException] = []

    def start() -> None:
        engine = open_database(empty_database_url)
        together.wait(60)
        try:
            migrate(engine)
        except Exception as error:  # noqa: BLE001 - the assertion below prints it
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    engine = open_database(empty_database_url)
    assert is_current(engine)
    engine.dispose()


def test_a_schema_of_a_newer_version_is_refused_with_a_line_that_says_so(engine: Engine) -> None:
    """An older collector must not write into tables that it does not know."""
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not is_current(engine)
    with pytest.raises(UnknownRevision, match=r"9999.*newer"):
        migrate(engine)


def test_a_migration_that_fails_leaves_nothing(empty_database_url: str) -> None:
    """The upgrade is one transaction on both databases."""
    engine = open_database(empty_database_url)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE quarantine (id INTEGER)"))
    with pytest.raises(Exception, match="quarantine"):
        migrate(engine)
    assert inspect(engine).get_table_names() == ["quarantine"]
    engine.dispose()
