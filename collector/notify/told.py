"""What was told, in the database: every replica goes on from there, and so does the next process."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from gputally.collector.database.schema_notify import told_budget, told_spell
from gputally.collector.notify.budget_news import BudgetKey, ToldBudget
from gputally.collector.notify.idle_pod import PodKey
from gputally.collector.notify.message import Level
from gputally.collector.notify.spell_news import ToldSpell


def told_spells(connection: Connection) -> dict[PodKey, ToldSpell]:
    """The spells that were told and are not over."""
    return {PodKey(*key): ToldSpell.of_json(state) for *key, state in connection.execute(select(told_spell))}


def keep_spells(connection: Connection, told: Mapping[PodKey, ToldSpell]) -> None:
    """These, and no others, stand as told."""
    _replace(connection, told_spell, [{**key._asdict(), "state": spell.to_json()} for key, spell in told.items()])


def told_budgets(connection: Connection) -> dict[BudgetKey, ToldBudget]:
    """The budgets that were told."""
    rows = connection.execute(select(told_budget))
    return {BudgetKey(*key): ToldBudget(Level(level), lower_us) for *key, level, lower_us in rows}


def keep_budgets(connection: Connection, told: Mapping[BudgetKey, ToldBudget]) -> None:
    """These, and no others, stand as told."""
    rows = [
        {**key._asdict(), "level": budget.level.value, "lower_since_us": budget.lower_since_us}
        for key, budget in told.items()
    ]
    _replace(connection, told_budget, rows)


def _replace(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """There are as many rows as pods that are idle for long: all of them are written anew."""
    connection.execute(table.delete())
    if rows:
        connection.execute(insert(table), rows)
