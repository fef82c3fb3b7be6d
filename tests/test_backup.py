"""docs/operations.md, "Backup and restore": its commands run on a ledger in use, and give it back.

Windows that were acknowledged after the backup are nobody's any more: their time is a gap, and agents go on from there.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, func, select
from tests.collector.test_main import ANY_PORTS, Collector, recent, start
from tests.pages import ROOT, bash, commands, environment, section
from tests.programs import module, running
from tests.windows import MINUTE_US

from gputally.accounting.line import Window
from gputally.accounting.states import Reason
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.database.schema import posting
from gputally.collector.ingest.admission import Received, Verdict
from gputally.collector.ingest.columns import read
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import dump, settle
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

UTC = ZoneInfo("UTC")
COMMANDS = commands(section((ROOT / "docs" / "operations.md").read_text(), "Backup and restore"))
IN_BACKUP, LOST, AFTER = slice(0, 6), slice(6, 8), slice(8, 10)
NEW = "restored"  # the database that the page makes


def of(kind: str) -> list[str]:
    """The page's commands for one kind of database: those of SQLite name its file."""
    return [line for line in COMMANDS if ("sqlite" in line) == (kind == "sqlite")]


def ledger(url: str) -> list[tuple[Any, ...]]:
    """All postings by names, up to date."""
    engine = open_database(url)
    settle(engine, UTC)
    with reading(engine) as connection:
        found = dump(connection)
    engine.dispose()
    return found


def summed(url: str) -> tuple[int, int]:
    """(used, unobserved for want of a sample), microseconds."""
    ledger(url)
    engine = open_database(url)
    unseen = func.sum(posting.c.unobserved_us).filter(posting.c.reason == Reason.NO_SAMPLE)
    with reading(engine) as connection:
        used, unobserved = connection.execute(select(func.sum(posting.c.used_us), unseen)).one()
    engine.dispose()
    return int(used), int(unobserved or 0)


@contextmanager
def collector(url: str, folder: Path) -> Iterator[Collector]:
    command = module("gputally.collector.main", "--database-url", url, *ANY_PORTS)
    with running(command, folder / "collector.log", environment(folder)) as process:
        yield start(process)


@pytest.fixture
def places(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """(URL of the ledger in use, URL of what its backup is restored to)"""
    if database_kind == "sqlite":
        if not shutil.which("sqlite3"):
            pytest.skip("sqlite3 is missing: apt-get install sqlite3")
        yield f"sqlite:///{tmp_path}/gputally.sqlite", f"sqlite:///{tmp_path}/gputally-copy.sqlite"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create(migrated=False)
    restored = re.sub(r"/test_\d+\?", f"/{NEW}?", url)
    yield url, restored
    server.drop(restored)
    server.drop(url)


def test_what_is_restored_is_the_ledger_and_agents_go_on(
    database_kind: str, places: tuple[str, str], tmp_path: Path
) -> None:
    url, restored = places
    windows = recent(10)
    env = environment(tmp_path, GPUTALLY_DATABASE_URL=url, NEW_DATABASE_URL=restored)
    first, *others = of(database_kind)
    engine = open_database(url)
    migrate(engine)
    commit(engine, windows, IN_BACKUP)
    before = ledger(url)
    bash(first, tmp_path, env)  # while connections are open: SQLite's last pages are in the log beside the file
    commit(engine, windows, LOST)
    engine.dispose()
    for command in others:
        bash(command, tmp_path, env)
    assert ledger(restored) == before
    with collector(restored, tmp_path) as living:
        living.send(windows[IN_BACKUP])  # an agent that did not hear that they were committed
        assert ledger(restored) == before
        living.send(windows[AFTER], first=AFTER.start + 1)
    each = MINUTE_US * 3 // 4
    assert summed(restored) == (8 * each, 2 * MINUTE_US)


def commit(engine: Engine, windows: Sequence[Window], part: slice) -> None:
    """What a collector does with these windows, in the messages that `Collector.send` makes of them."""
    numbered = list(enumerate(windows, start=1))[part]
    messages = [(content, sequence, codec.encode(content, "agent", "boot", sequence)) for sequence, content in numbered]
    group = [
        Received(message, read(pb.Window.FromString(message)), "agent", "boot", sequence, content.end_us)
        for content, sequence, message in messages
    ]
    outcomes = Committer(engine, UTC, max_age_us=None).commit(group, windows[-1].end_us)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.ACCEPTED}
