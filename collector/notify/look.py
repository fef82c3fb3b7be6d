"""A look at the ledger: what is new since the last one is written down as told, and put into the queue."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine

from gputally.collector.allocation.period import parse_period
from gputally.collector.allocation.query import WHOLE
from gputally.collector.allocation.steps import local_date
from gputally.collector.burn import Burn, burns
from gputally.collector.database.deadline import reading_within
from gputally.collector.ledger.postings import catch_up
from gputally.collector.notify import queue, told, turns
from gputally.collector.notify.budget_news import budget_news
from gputally.collector.notify.budget_words import budget_message
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.idle import Seen, read_idle
from gputally.collector.notify.idle_pod import PodKey
from gputally.collector.notify.message import Message
from gputally.collector.notify.spell_news import spell_news
from gputally.collector.notify.spell_words import spell_message
from gputally.collector.rates.pricing import read_pricer

COUNT_EVERY_US = 600_000_000  # between two looks at budgets: a month's sum costs more than the spells of now
DEADLINE_S = 30.0

Exempt = Callable[[], Iterable[PodKey]]


@dataclass(frozen=True, slots=True)
class Budgets:
    """How the budgets of a month stand."""

    month: str
    burns: tuple[Burn, ...]
    currency: str


@dataclass(frozen=True, slots=True)
class Looked:
    """How many messages a look left out: replaced before they were sent, or without room."""

    superseded: int = 0
    full: int = 0


class Look:
    """`after_us` is how long a spell lasts before it is told; `exempt` finds the pods that ask not to be told of."""

    def __init__(self, engine: Engine, frame: Frame, after_us: int, exempt: Exempt) -> None:
        self._engine = engine
        self._frame = frame
        self._after_us = after_us
        self._exempt = exempt

    def look(self, holder: str, turn: turns.Turn, now_us: int) -> Looked:
        """Look, and tell the queue; raises TooSlow and DATABASE_ERRORS. Nothing is changed where the turn was lost."""
        # All of it: an hour that is not settled looks like one in which nothing was idle.
        catch_up(self._engine, self._frame.zone)
        counts = not 0 <= now_us - turn.counted_us < COUNT_EVERY_US
        with reading_within(self._engine, DEADLINE_S) as connection:
            seen = read_idle(connection, self._frame.zone, self._after_us, now_us)
            budgets = self._budgets(connection, now_us) if counts else None
        if seen.idle:
            seen = seen.without(self._exempt())
        with turns.turning(self._engine) as (connection, current):
            if current.holder != holder:
                return Looked()
            messages = self._spells(connection, seen, now_us)
            if budgets:
                messages += self._of_budgets(connection, budgets, now_us)
            looked = _queued(connection, messages)
            counted_us = now_us if counts else current.counted_us
            left_out = current.left_out + looked.full
            turns.keep(connection, replace(current, looked_us=now_us, counted_us=counted_us, left_out=left_out))
        return looked

    def _budgets(self, connection: Connection, now_us: int) -> Budgets:
        period = parse_period(None, None, None, self._frame.zone, now_us)
        found = burns(connection, self._frame.zone, period, now_us, WHOLE)
        currency = read_pricer(connection, self._frame.zone).currency or "" if found else ""
        return Budgets(f"{local_date(period.start_us, self._frame.zone):%Y-%m}", tuple(found), currency)

    def _spells(self, connection: Connection, seen: Seen, now_us: int) -> list[Message]:
        before = told.told_spells(connection)
        now = spell_news(before, seen, self._after_us, now_us)
        if now.told != before:
            told.keep_spells(connection, now.told)
        return [spell_message(news, self._frame, now_us) for news in now.news]

    def _of_budgets(self, connection: Connection, budgets: Budgets, now_us: int) -> list[Message]:
        before = told.told_budgets(connection)
        now = budget_news(before, budgets.burns, budgets.month, now_us)
        if now.told != before:
            told.keep_budgets(connection, now.told)
        return [budget_message(news, self._frame, budgets.currency, now_us) for news in now.news]


def _queued(connection: Connection, messages: Sequence[Message]) -> Looked:
    """Put messages into the queue: of each subject the last, the most urgent first, so that these find room."""
    latest = {message.subject: message for message in messages}
    superseded, full = len(messages) - len(latest), 0
    for message in sorted(latest.values(), key=lambda message: -message.level.rank):
        kept, replaced = queue.put(connection, message)
        superseded += replaced
        full += not kept
    return Looked(superseded, full)
