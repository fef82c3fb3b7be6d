"""What is kept of lines beside their postings: how long something was held and used, and the most memory of a day."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, select
from tests.statements import book
from tests.windows import MINUTE_US, START_US, device, pod, reserved, window

from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.line import Window
from gputally.collector.database.engine import reading
from gputally.collector.database.schema_waste import UNBOUNDED, memory_peak, tenure
from gputally.collector.ledger.one_at_a_time import hold_nodes

UTC = ZoneInfo("UTC")
DAY_US = 24 * HOUR_US
GIB = 1 << 30


def minute(at_us: int, used_us: int, memory_byte_s: int | None, length_us: int = MINUTE_US) -> Window:
    line = reserved(pod(), used_us, length_us - used_us, memory_byte_s=memory_byte_s)
    return window(device(line), start_us=START_US + at_us, length_us=length_us)


def peaks(engine: Engine) -> list[tuple[int, int]]:
    columns = (memory_peak.c.day_us, memory_peak.c.bytes)
    with reading(engine) as connection:
        return [(day_us, count) for day_us, count in connection.execute(select(*columns).order_by("day_us"))]


def times(engine: Engine) -> list[tuple[int | None, ...]]:
    names = ("held_from_us", "held_until_us", "used_from_us", "used_until_us")
    with reading(engine) as connection:
        rows = connection.execute(select(*(tenure.c[name] for name in names)))
        return [tuple(None if us is None else us - START_US for us in row) for row in rows]


def test_a_tenure_grows_by_what_arrives_in_any_order(engine: Engine) -> None:
    """From the first window to the last, and likewise of use, once there is any."""
    book(engine, [minute(3 * HOUR_US, 0, None)])
    assert times(engine) == [(3 * HOUR_US, 3 * HOUR_US + MINUTE_US, None, None)]
    book(engine, [minute(0, 1, None), minute(MINUTE_US, 0, None)])
    assert times(engine) == [(0, 3 * HOUR_US + MINUTE_US, 0, MINUTE_US)]
    book(engine, [minute(HOUR_US, MINUTE_US, None)])
    assert times(engine) == [(0, 3 * HOUR_US + MINUTE_US, 0, HOUR_US + MINUTE_US)]


def test_the_most_memory_of_a_day_is_the_mean_of_a_window(engine: Engine) -> None:
    """Of a short one as well; of what was not measured there is no row, because 0 was measured."""
    unseen = replace(reserved(pod(), 0, 0), unobserved_us=MINUTE_US)
    book(engine, [window(device(unseen), start_us=START_US)])
    assert peaks(engine) == []
    book(engine, [minute(MINUTE_US, 0, 60 * GIB), minute(2 * MINUTE_US, 0, 15 * GIB, MINUTE_US // 4)])
    book(engine, [minute(HOUR_US, 0, 30 * GIB), minute(DAY_US, 0, 0)])
    assert peaks(engine) == [(START_US, GIB), (START_US + DAY_US, 0)]


def test_memory_that_is_known_in_part_has_no_peak_of_that_day(engine: Engine) -> None:
    """What could not be read may have been more, whether it comes before what could or after it."""
    book(engine, [minute(0, 0, None), minute(MINUTE_US, 0, GIB), minute(DAY_US, 0, 60 * GIB)])
    assert peaks(engine) == [(START_US, UNBOUNDED), (START_US + DAY_US, GIB)]
    book(engine, [minute(DAY_US + HOUR_US, 1, None), minute(DAY_US + 2 * HOUR_US, 1, GIB)])
    assert peaks(engine) == [(START_US, UNBOUNDED), (START_US + DAY_US, UNBOUNDED)]


def test_an_eight_gpu_fleets_memory_fits(engine: Engine) -> None:
    """Byte-microseconds of a large GPU would not fit the database's integers."""
    book(engine, [minute(0, 0, 60 * 288 * GIB)])
    assert peaks(engine) == [(START_US, 288 * GIB)]


def test_hours_of_a_node_wait_for_each_other(engine: Engine, database_kind: str) -> None:
    """Of another node they do not; SQLite has one writer anyway."""
    if database_kind == "sqlite":
        return
    with engine.begin() as one, engine.begin() as other:
        hold_nodes(one, [1, 2])
        hold_nodes(other, [3])
        found = other.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({0x6770}, 2)").scalar_one()
        free = other.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({0x6770}, 4)").scalar_one()
        assert (found, free) == (False, True)
