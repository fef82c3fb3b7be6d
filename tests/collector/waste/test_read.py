"""What is stored and summed by the database has the kinds that all windows at once have, in any grouping and order."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from tests.databases import empty
from tests.idle_histories import BEGIN_US, History, PodPart, histories, kinds_at_once, node_windows
from tests.statements import LATER_US
from tests.windows import all_received

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.allocation.grouping import By
from gputally.collector.allocation.period import Period
from gputally.collector.allocation.query import Query
from gputally.collector.database.engine import reading
from gputally.collector.database.schema import device, node, owner
from gputally.collector.database.schema_waste import idle_part, memory_peak, tenure
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.waste.division import Share
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import waste

UTC = ZoneInfo("UTC")
PERIOD = Period(BEGIN_US - HOUR_US, BEGIN_US + 9 * HOUR_US)
few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def book(engine: Engine, windows: Sequence[Window], parts: int = 1) -> None:
    """Commit windows in turns, each settled before the next."""
    arrived = all_received(windows)
    committer = Committer(engine, UTC, max_age_us=None)
    size = -(-len(arrived) // parts)
    for at in range(0, len(arrived), size):
        committer.commit(arrived[at : at + size], now_us=LATER_US)
        settle(engine, UTC)


def stored(engine: Engine) -> list[list[tuple[Any, ...]]]:
    """All that is derived, by names."""
    found = []
    with reading(engine) as connection:
        for table in (idle_part, tenure, memory_peak):
            names = [node.c.name, device.c.uuid, *list(owner.c)[1:]]
            rest = [column for column in table.c if column.name not in ("node_id", "device_id", "owner_id")]
            named = (
                table.join(node, node.c.id == table.c.node_id)
                .join(device, device.c.id == table.c.device_id)
                .join(owner, owner.c.id == table.c.owner_id)
            )
            rows = connection.execute(select(*names, *rest).select_from(named)).all()
            found.append(sorted((tuple(row) for row in rows), key=str))
    return found


def by_part(engine: Engine, **query: Any) -> dict[PodPart, dict[Kind, Share]]:
    asked = Query(PERIOD, UTC, (By.CONTAINER, By.DEVICE), **query)
    return {
        PodPart(row.keys[2], row.keys[3].removeprefix("GPU-node-a-")): {
            kind: Share(one.us, one.provisional_us) for kind, one in row.kinds.items()
        }
        for row in waste(engine, UTC, asked).rows
    }


@given(histories(most_runs=5, last_minute=200), st.booleans(), st.randoms(use_true_random=False))
@few
def test_the_database_tells_the_same_as_all_windows_at_once(
    engine: Engine, history: History, ended: bool, random: Any
) -> None:
    """However the windows arrive: in order at once, or in any order and settled in between, some of them twice."""
    empty(engine)
    windows = node_windows(history, goes_on=ended)
    book(engine, windows)
    in_order = stored(engine)
    kinds = {part: of for part, of in kinds_at_once(history, ended=ended).items() if any(us for us, _ in of.values())}
    assert by_part(engine) == kinds
    empty(engine)
    shuffled = [*windows, *random.sample(windows, len(windows) // 4)]
    random.shuffle(shuffled)
    book(engine, shuffled, parts=4)
    assert stored(engine) == in_order
    assert by_part(engine) == kinds
