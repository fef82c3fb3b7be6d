"""Who commits and who settles at once, while silence is booked, leaves the ledger that one after the other leaves."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from random import Random
from threading import Event

import pytest
from sqlalchemy import Engine, Select, Table, func, select
from tests.databases import empty
from tests.gap_books import HOUR_US, NOW_US, arrived, dumped
from tests.unkept import faults
from tests.windows import MINUTE_US, START_US, device, pod, reserved, window

from gputally.accounting.keys import Holding
from gputally.accounting.line import DeviceWindow
from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.schema import posting
from gputally.collector.database.schema_day import posting_day
from gputally.collector.ingest.admission import Received
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import catch_up, pending, settle
from gputally.collector.ledger.silence import book_silence

HOURS, UNTIL_US = 10, START_US + 40 * HOUR_US
MINUTES = tuple(range(0, 60, 7))  # of each hour in which a node may have a window


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_who_commits_and_who_settles_at_once_leave_one_ledger(database_url: str, engine: Engine) -> None:
    """I4, I7: no line that is committed beside a settlement is left out, and no mark is taken away from it."""
    dice = Random(1)
    windows = [one for name in ("a", "b", "c") for one in node_windows(dice, name)]
    dice.shuffle(windows)
    over = Event()

    def at_work(turn: Callable[[Engine], object]) -> None:
        with replica(database_url) as mine:
            while not over.is_set():
                turn(mine)

    with ThreadPoolExecutor(6) as pool:
        hour = iter(range(1, 41))
        turns = [
            pool.submit(at_work, lambda mine: settle(mine, UTC)),
            pool.submit(at_work, lambda mine: settle(mine, UTC, 3)),
            pool.submit(at_work, lambda mine: catch_up(mine, UTC)),
            pool.submit(at_work, lambda mine: book(mine, START_US + next(hour, 40) * HOUR_US)),
        ]
        for writer in [pool.submit(commit_in_groups, database_url, windows[half::2]) for half in (0, 1)]:
            writer.result()
        over.set()
        for turn in turns:
            turn.result()
    together = settled(engine)
    empty(engine)
    assert all(not outcome.refusal for outcome in Committer(engine, UTC, None).commit(windows, NOW_US))
    assert settled(engine) == together


def settled(engine: Engine) -> list[tuple[object, ...]]:
    """The whole ledger, with nothing that waits, and all that is derived of it as it must be."""
    book(engine, UNTIL_US)
    catch_up(engine, UTC)
    with reading(engine) as connection:
        assert pending(connection) == 0
        assert faults(connection) == []
        assert connection.execute(_total(posting_day)).all() == connection.execute(_total(posting)).all()
    return dumped(engine)


def _total(table: Table) -> Select[int, int]:
    return select(func.sum(table.c.used_us + table.c.idle_us), func.sum(table.c.unobserved_us))


def book(engine: Engine, now_us: int) -> None:
    book_silence(engine, UTC, now_us, 24 * HOUR_US)


def commit_in_groups(database_url: str, windows: Sequence[Received]) -> None:
    with replica(database_url) as mine:
        committer = Committer(mine, UTC, None)
        for first in range(0, len(windows), 4):
            committer.commit(windows[first : first + 4], NOW_US)


@contextmanager
def replica(database_url: str) -> Iterator[Engine]:
    """An engine of a collector's own."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def node_windows(dice: Random, name: str) -> Iterator[Received]:
    """Windows of a node with gaps between them, with devices that come and go, one of them to another node."""
    often_seen = {f"GPU-{name}": 0.7, "GPU-that-moves": 0.1}
    for hour in range(HOURS):
        for minute in MINUTES:
            uuids = [uuid for uuid, often in often_seen.items() if dice.random() < often]
            if uuids:
                start_us = START_US + hour * HOUR_US + minute * MINUTE_US
                content = window(*(part(dice, uuid) for uuid in uuids), node=name, start_us=start_us)
                yield arrived(replace(content, skipped_us=dice.choice([0] * 9 + [MINUTE_US])), "boot-1")


def part(dice: Random, uuid: str) -> DeviceWindow:
    """A device that a pod holds, idle or not, on both sides or one, and at times unavailable at its end."""
    used_us = dice.choice([0, 0, MINUTE_US, dice.randrange(MINUTE_US)])
    owner = pod(dice.choice(["search", "vision"]))
    held = (Holding(owner),)
    found = device(reserved(owner, used_us, MINUTE_US - used_us), uuid=uuid)
    is_lost = dice.random() < 0.1
    return replace(found, start_holders=held, end_holders=held * dice.choice([0, 1]), unavailable_at_end=is_lost)
