"""Budgets: how many GPU-hours or how much money a namespace or a team may use in a month."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from sqlalchemy import Connection

from gputally.collector.files.applied import Kind, current
from gputally.collector.files.yaml_file import (
    Fields,
    FileMistakes,
    Mistakes,
    Node,
    as_fields,
    as_items,
    as_text,
    check_version,
    parse_yaml,
)
from gputally.collector.rates.card import NANO

_TOP = ("version", "budgets")
_UNITS = ("gpu_hours", "amount")
_ENTRY = ("namespace", "cluster", "team", "from", "to", "note", *_UNITS)
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)


class Scope(StrEnum):
    """Whose budget it is."""

    NAMESPACE = "namespace"
    TEAM = "team"


class Unit(StrEnum):
    """What is counted: GPU-hours, or money in the rate card's currency."""

    GPU_HOURS = "gpu_hours"
    MONEY = "amount"


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of each month from `first` to `last` (both included; None: until another); months are (year, month).

    `value` is an exact integer of 10⁻⁹ GPU-hours or of the currency. A cluster of None means all clusters together.
    """

    scope: Scope
    name: str
    cluster: str | None
    unit: Unit
    value: int
    first: tuple[int, int]
    last: tuple[int, int] | None
    line: int
    note: str = ""

    @property
    def key(self) -> tuple[Scope, str, str, Unit]:
        """What no two budgets of a month may share."""
        return self.scope, self.name, self.cluster or "", self.unit


def parse_budgets(content: bytes) -> tuple[Budget, ...]:
    """The budgets of a file; raises FileMistakes with everything that is wrong with it."""
    mistakes = Mistakes()
    node = parse_yaml(content, mistakes)
    if node is None and not mistakes:
        mistakes.add(1, "the file is empty")
    top = as_fields(node, "budgets", _TOP, mistakes)
    found: list[Budget] = []
    if top is not None:
        check_version(top, mistakes)
        for item in as_items(top.get("budgets"), "budgets", mistakes):
            fields = as_fields(item, "an entry of budgets", _ENTRY, mistakes)
            found += _entry(fields, mistakes) if fields else ()
    _note_overlaps(found, mistakes)
    if mistakes:
        raise FileMistakes(mistakes.all)
    return tuple(found)


def budgets_of(budgets: tuple[Budget, ...], month: tuple[int, int]) -> list[Budget]:
    """The budgets of one month: of each key the one that began last, unless it has ended."""
    latest: dict[tuple[Scope, str, str, Unit], Budget] = {}
    for budget in sorted(budgets, key=lambda budget: budget.first):
        if budget.first <= month:
            latest[budget.key] = budget
    return [budget for budget in latest.values() if budget.last is None or month <= budget.last]


def read_budgets(connection: Connection, as_of_us: int | None = None) -> tuple[Budget, ...]:
    """The budgets that were applied last (by `as_of_us`); none where none ever were."""
    applied = current(connection, Kind.BUDGETS, as_of_us)
    return () if applied is None else parse_budgets(applied.content)


def _entry(fields: Fields, mistakes: Mistakes) -> Iterator[Budget]:
    names = {scope: as_text(fields.get(scope), scope, mistakes) for scope in Scope}
    named = [(scope, name) for scope, name in names.items() if name is not None]
    if len(named) != 1:
        mistakes.add(fields.line, "one of namespace and team must be given, and only one")
    first = _month(fields.get("from"), "from", mistakes)
    last = _month(fields.get("to"), "to", mistakes)
    if first is None and fields.get("from") is None:
        mistakes.add(fields.line, "from is missing: the first month, such as 2026-11")
    if first is not None and last is not None and last < first:
        mistakes.add(fields.line, "to is before from")
    values = [(Unit(unit), _value(node, unit, mistakes)) for unit in _UNITS if (node := fields.get(unit)) is not None]
    if not values:
        mistakes.add(fields.line, "gpu_hours or amount is missing")
    cluster, note = (as_text(fields.get(name), name, mistakes) for name in ("cluster", "note"))
    if len(named) == 1 and first is not None:
        for unit, value in values:
            if value is not None:
                yield Budget(*named[0], cluster, unit, value, first, last, fields.line, note or "")


def _month(node: Node | None, what: str, mistakes: Mistakes) -> tuple[int, int] | None:
    text = as_text(node, what, mistakes)
    if text is None or node is None:
        return None
    match = _MONTH.fullmatch(text)
    if match is None:
        mistakes.add(node.line, f"{what} {text}: expected a month such as 2026-11")
        return None
    return int(match[1]), int(match[2])


def _value(node: Node, what: str, mistakes: Mistakes) -> int | None:
    text = as_text(node, what, mistakes)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        mistakes.add(node.line, f"{what} {text}: expected a number such as 5000 or 1250.50, not negative")
        return None
    return int(Decimal(text) * NANO)


def _note_overlaps(budgets: list[Budget], mistakes: Mistakes) -> None:
    by_key: dict[tuple[Scope, str, str, Unit], list[Budget]] = defaultdict(list)
    for budget in budgets:
        by_key[budget.key].append(budget)
    for of_key in by_key.values():
        ordered = sorted(of_key, key=lambda budget: (budget.first, budget.line))
        for before, after in pairwise(ordered):
            if before.first == after.first:
                mistakes.add(after.line, f"line {before.line} is a budget of the same from the same month")
            elif before.last is not None and before.last >= after.first:
                mistakes.add(after.line, f"overlaps line {before.line}, which ends later than this begins")
