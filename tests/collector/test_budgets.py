"""Budgets: exact, of one namespace or team, from a month on."""

import pytest
from sqlalchemy import Engine

from gputally.collector.budgets import Scope, Unit, budgets_of, parse_budgets, read_budgets
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.rates.card import NANO

BUDGETS = b"""\
version: 1
budgets:
  - team: research
    gpu_hours: 5000
    amount: 12000.50
    from: 2026-01
  - team: research
    gpu_hours: 6000
    from: 2026-07
    to: 2026-08
  - namespace: search
    cluster: east
    gpu_hours: 10
    from: 2026-01
"""


@pytest.mark.parametrize(
    ("month", "hours"), [((2025, 12), None), ((2026, 6), 5000), ((2026, 8), 6000), ((2026, 9), None)]
)
def test_a_budget_holds_until_its_end_or_the_next(month: tuple[int, int], hours: int | None) -> None:
    found = [one for one in budgets_of(parse_budgets(BUDGETS), month) if one.scope is Scope.TEAM]
    values = {one.unit: one.value for one in found}
    assert values.get(Unit.GPU_HOURS) == (None if hours is None else hours * NANO)
    assert values.get(Unit.MONEY) == (None if month[0] == 2025 else 12_000_500_000_000)


def test_budgets_are_read_as_they_were_applied(engine: Engine) -> None:
    with reading(engine) as connection:
        assert read_budgets(connection) == ()
    apply_file(engine, Kind.BUDGETS, BUDGETS, "ann@host", 100)
    with reading(engine) as connection:
        assert len(read_budgets(connection)) == 4
        assert read_budgets(connection, as_of_us=99) == ()


def test_every_mistake_is_told_at_once() -> None:
    content = b"""\
version: 1
budgets:
  - team: a
    namespace: b
    amount: -1
    from: 2026-13
  - team: a
    from: 2026-02
    to: 2026-01
  - team: c
    amount: 1
    from: 2026-01
    to: 2026-05
  - team: c
    amount: 2
    from: 2026-05
"""
    with pytest.raises(FileMistakes) as caught:
        parse_budgets(content)
    assert [(mistake.line, mistake.text.partition(":")[0]) for mistake in caught.value.mistakes] == [
        (3, "one of namespace and team must be given, and only one"),
        (5, "amount -1"),
        (6, "from 2026-13"),
        (7, "gpu_hours or amount is missing"),
        (7, "to is before from"),
        (14, "overlaps line 10, which ends later than this begins"),
    ]
