"""Windows with nothing between them, and what the ledger makes of the time that none covers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any

from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, select
from tests.windows import MINUTE_US, START_US, device, pod, received, reserved, window

from gputally.accounting.keys import Holding
from gputally.accounting.line import DeviceWindow, Window
from gputally.collector.database.engine import reading
from gputally.collector.database.schema import owner, posting
from gputally.collector.ingest.admission import ACCEPTED, Received
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import dump, pending, settle

HOUR_US = 60 * MINUTE_US
NOW_US = START_US + 90 * 24 * HOUR_US
ANN = (Holding(pod()),)
modest = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def commit(engine: Engine, windows: Sequence[Window], boot_id: str = "boot-1", zone: tzinfo = UTC) -> None:
    """Have the windows accepted, all of them, in one group."""
    group = [arrived(content, boot_id) for content in windows]
    assert Committer(engine, zone, None).commit(group, NOW_US) == [ACCEPTED] * len(group)


def arrived(content: Window, boot_id: str) -> Received:
    """The window as it comes in, of that life of its node."""
    return replace(received(content), boot_id=boot_id)


def held(us: int = MINUTE_US, energy: tuple[int, int] | None = None, uuid: str = "GPU-0") -> DeviceWindow:
    """A device that one pod holds for all of a window, and on both sides of it."""
    part = device(reserved(pod(), us, 0, energy[1] - energy[0] if energy else None), uuid=uuid)
    if energy:
        part = replace(part, energy_start_mj=energy[0], energy_end_mj=energy[1])
    return replace(part, start_holders=ANN, end_holders=ANN)


def at(minute: int, *devices: DeviceWindow, skipped_us: int = 0) -> Window:
    """A window of that minute."""
    return replace(window(*(devices or (held(),)), start_us=START_US + minute * MINUTE_US), skipped_us=skipped_us)


def booked(engine: Engine) -> dict[int, tuple[int, str]]:
    """Per hour since the start, the gap time of its postings and whose it is."""
    settle(engine, UTC)
    query = select(posting.c.hour_us, posting.c.gap_us, owner.c.kind).join(owner).where(posting.c.gap_us > 0)
    with reading(engine) as connection:
        return {(hour - START_US) // HOUR_US: (us, kind) for hour, us, kind in connection.execute(query)}


def dumped(engine: Engine) -> list[tuple[Any, ...]]:
    """The ledger by names."""
    with reading(engine) as connection:
        return dump(connection)


def marked(engine: Engine) -> int:
    """Hours that wait."""
    with reading(engine) as connection:
        return pending(connection)
