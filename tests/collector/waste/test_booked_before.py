"""Hours that a version without kinds of waste has booked are divided as wholes, by what their postings say."""

from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests import wasteful
from tests.idle_histories import SHARE_US
from tests.test_upgrade import copy_rows, upgrade_to

from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.query import Query
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import waste

UTC = ZoneInfo("UTC")


def test_whole_hours_tell_what_they_can(
    engine: Engine, empty_database_url: str, database_kind: str, tmp_path: Path
) -> None:
    """An hour with any use lies between kernels; the notebook's second hour, without, was forgotten; and the GPU that
    was never used stays over-asked."""
    wasteful.fill(engine, ["notebook-0", "wide-0"])
    before = open_database(f"sqlite:///{tmp_path}/before.sqlite" if database_kind == "sqlite" else empty_database_url)
    upgrade_to(before, "0012")
    copy_rows(engine, before)
    migrate(before)
    found = waste(before, UTC, Query(wasteful.DAY, UTC, (By.POD,)))
    kinds = {row.keys[1]: {kind: one.us // SHARE_US for kind, one in row.kinds.items() if one.us} for row in found.rows}
    assert kinds == {"notebook-0": {Kind.BETWEEN: 50, Kind.FORGOTTEN: 60}, "wide-0": {Kind.OVER_ASKED: 60}}
    before.dispose()
