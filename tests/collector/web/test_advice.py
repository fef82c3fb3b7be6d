"""A piece of advice in words: whose work it is about, and of which pod alone."""

from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from gputally.collector.advice.advice import Advice, Kind, OffHours, Spent, Stretch, Subject, Unused
from gputally.collector.web.advice import _row

UNUSED = Unused(1, 7, 8, True, 0, 1)
ONE = Advice(Kind.UNUSED, Subject("east", "vision", "engines", "job/bert", ("bert-0",)), Spent(), UNUSED)


class At:
    """A time zone: all that a row asks of who asks."""

    zone = ZoneInfo("UTC")


AT: Any = At()


def told(one: Advice) -> tuple[str, str]:
    row = _row(one, "EUR", AT)
    return row.work, row.pod


def test_it_names_the_workload_and_the_pod_where_it_is_about_one_of_them() -> None:
    """A pod of which nothing was learnt is its own workload, and is named once."""
    assert told(ONE) == ("job/bert", "bert-0")
    alone = replace(ONE, subject=replace(ONE.subject, workload="pod/bert-0"))
    assert told(alone) == ("pod/bert-0", "")
    service = replace(ONE, kind=Kind.OFF_HOURS, details=OffHours((Stretch(0, 8),), 4, 28))
    assert told(service) == ("job/bert", "")
