"""docs/operations.md, "Upgrade and rollback": the schema goes forward with all that is booked, and never back."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, MetaData, SmallInteger, Table, TypeDecorator, inspect, select, text
from tests.pages import ROOT
from tests.statements import book
from tests.unkept import LARGE
from tests.windows import device, minutes, pod, reserved, unallocated, window
from typer.testing import CliRunner

from gputally.accounting.keys import WHOLE_GPU, LineKey
from gputally.accounting.line import DeviceWindow, Line, Quality
from gputally.accounting.states import Basis, Reason, Source
from gputally.collector.cli.main import app
from gputally.collector.database import schema
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.migrate import is_current, migrate
from gputally.collector.database.schema import node, owner
from gputally.collector.database.schema_month import metadata  # which knows every table
from gputally.collector.ledger.postings import dump

PAGE = (ROOT / "docs" / "operations.md").read_text()
VERSIONS = ROOT / "collector" / "migrations"
UTC = ZoneInfo("UTC")
HALF = 30_000_000


def before_the_last() -> str:
    """The revision that the last migration begins at."""
    scripts = ScriptDirectory(str(VERSIONS))
    last = scripts.get_revision("head")
    assert last is not None
    return str(last.down_revision)


def upgrade_to(engine: Engine, revision: str) -> None:
    with writing(engine) as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(VERSIONS))
        config.set_main_option("path_separator", "os")
        command.upgrade(config, revision)


def _kind(old: Column[Any], new: Column[Any] | None) -> Any:
    """What turns a value of now into one that the column had: a word had no number, and nothing was 0, at first."""
    known = isinstance(old.type, SmallInteger) or old.nullable
    return new.type if new is not None and isinstance(new.type, TypeDecorator) and known else old.type


def copy_rows(source: Engine, target: Engine) -> None:
    """What both have a column for, in the order in which tables refer to each other."""
    there = set(inspect(target).get_table_names())
    for name in [table.name for table in metadata.sorted_tables if table.name in there]:
        old = Table(name, MetaData(), autoload_with=target)
        for column in old.columns:
            column.type = _kind(column, metadata.tables[name].columns.get(column.name))
        with reading(source) as connection:
            rows = connection.execute(metadata.tables[name].select()).mappings().all()
        with writing(target) as connection:
            connection.execute(old.delete())
            kept = [{key: value for key, value in row.items() if key in old.columns} for row in rows]
            if kept:
                connection.execute(old.insert(), kept)


def stored(engine: Engine) -> list[list[Any]]:
    """What lies in the tables that an upgrade may have to make anew."""
    with reading(engine) as connection:
        return [sorted(map(repr, connection.execute(select(table)))) for table in (*LARGE, node, schema.device, owner)]


def ledger(engine: Engine) -> list[tuple[Any, ...]]:
    with reading(engine) as connection:
        return dump(connection)


def every_word(kind: Basis) -> DeviceWindow:
    """A device of whose lines each has another reason and source, and one all that a line can say."""
    share = 60_000_000 // len(Reason)
    words = zip(Reason, [*Source, *Source], strict=False)
    lines = [
        Line(LineKey(WHOLE_GPU, pod(kind.value), kind, why), how, unobserved_us=share, held_us=at)
        for at, (why, how) in enumerate(words)
    ]
    quality = Quality(share, sm_us=share // 2, occupancy_us=3, tensor_us=0, dram_us=share)
    all_of_it = replace(lines[0], burst_us=7, intruder_us=8, memory_byte_s=2**45, quality=quality)
    return device(all_of_it, *lines[1:], uuid=f"GPU-{kind.value}")


@pytest.mark.parametrize("revision", [before_the_last(), "0011"])  # 0012 makes the large tables anew
def test_what_the_version_before_has_booked_is_the_same_afterwards(
    revision: str, engine: Engine, empty_database_url: str, database_kind: str, tmp_path: Path
) -> None:
    """Whole, shared and silent time: windows of two nodes with a gap between; and every word that a line can have."""
    parts = (reserved(pod(), HALF // 2, HALF // 2), unallocated(HALF))
    mixed = window(device(*parts), every_word(Basis.RESERVATION), every_word(Basis.PROCESS), node="node-b")
    book(engine, [*minutes(3), *minutes(2, first_us=mixed.end_us + 10 * 60_000_000), mixed])
    url = f"sqlite:///{tmp_path}/before.sqlite" if database_kind == "sqlite" else empty_database_url
    of_before = open_database(url)
    upgrade_to(of_before, revision)
    copy_rows(engine, of_before)
    assert not is_current(of_before)
    migrate(of_before)
    assert is_current(of_before)
    assert ledger(of_before) == ledger(engine) != []
    assert stored(of_before) == stored(engine)
    of_before.dispose()


def test_an_upgrade_that_fails_half_way_leaves_all_as_it_was(empty_database_url: str) -> None:
    """Also the tables that were made anew before it failed: the version before goes on with them."""
    engine = open_database(empty_database_url)
    upgrade_to(engine, "0011")
    with writing(engine) as connection:
        connection.execute(text("INSERT INTO node (id, cluster, name) VALUES (1, 'east', 'a')"))
        connection.execute(text("CREATE TABLE summed_day (day INTEGER)"))  # which 0014 makes

    def found() -> list[Any]:
        about = inspect(engine)
        tables = sorted(about.get_table_names())
        with reading(engine) as connection:
            rows = connection.execute(text("SELECT * FROM node, alembic_version")).all()
        return [rows, *((name, [str(column) for column in about.get_columns(name)]) for name in tables)]

    before = found()
    with pytest.raises(Exception, match="summed_day"):
        migrate(engine)
    assert found() == before
    engine.dispose()


@pytest.mark.parametrize(("line", "says"), [("migrate", "which this version does not know"), ("report", "schema")])
def test_the_version_before_does_not_touch_a_newer_schema(line: str, says: str, tmp_path: Path) -> None:
    """Neither to write nor to read; the page quotes what it says."""
    url = f"sqlite:///{tmp_path}/gputally.sqlite"
    engine = open_database(url)
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    done = CliRunner().invoke(app, [line, "--database-url", url])
    assert (done.exit_code, says in done.stderr) == (1, True), done.stderr
    assert says in PAGE


def test_there_is_no_way_back() -> None:
    """A migration that could be undone would be promised to be, and tested with what was booked since."""
    files = sorted((VERSIONS / "versions").glob("*.py"))
    assert [file.name for file in files if "def downgrade" in file.read_text()] == []
