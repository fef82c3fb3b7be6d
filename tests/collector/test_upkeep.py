"""One turn does all: silence, settlement, retention."""

from datetime import UTC

from sqlalchemy import Engine, func, select
from tests.windows import START_US, all_received, window

from gputally.collector.database.engine import reading
from gputally.collector.database.schema import line, posting
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.retention import Policy, Retention
from gputally.collector.ledger.upkeep import Upkeep

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


def test_a_turn_books_silence_settles_and_forgets(engine: Engine) -> None:
    """In the end the lines are gone, and the day of silence stands in the postings."""
    Committer(engine, UTC, None).commit(all_received([window()]), START_US)
    now_us = START_US
    retention = Retention(engine, UTC, Policy(14 * DAY_US, 25, DAY_US, 1 << 20), lambda: now_us)
    upkeep = Upkeep(engine, UTC, DAY_US, retention, lambda: now_us)
    assert upkeep.turn() == 1
    now_us = START_US + 2 * DAY_US
    assert upkeep.turn() == 25
    now_us = START_US + 20 * DAY_US
    assert upkeep.turn() == 0
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(line)).scalar_one() == 0
        assert connection.execute(select(func.sum(posting.c.gap_us))).scalar_one() == DAY_US
