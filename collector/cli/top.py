"""`gputally top`: who holds which GPU now, what is idle, and what that costs, redrawn until somebody quits."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from sqlalchemy import Engine

from gputally.collector.cli.database import (
    DatabaseUrl,
    Timezone,
    choice,
    fail,
    is_there,
    missing,
    outdated,
    settings_of,
    unusable,
)
from gputally.collector.database.deadline import TooSlow, reading_within
from gputally.collector.database.engine import DATABASE_ERRORS, open_database
from gputally.collector.database.migrate import is_current
from gputally.collector.ledger.billing_zone import OtherZone, check_zone
from gputally.collector.settings import ReadSettings
from gputally.collector.top.draw import Shown, Size, frame
from gputally.collector.top.facts import Facts, Where, read_facts
from gputally.collector.top.live import View, show
from gputally.collector.top.poll import CannotRead, Poll
from gputally.collector.top.rows import By, Sort
from gputally.collector.top.terminal import keyboard

_DEADLINE_S = 20.0  # of one reading; a fleet of a thousand GPUs takes well below one
_WIDEST = 10_000  # cells of a line in a pipe, which has no end
_INTERVAL_S = 5.0  # windows come once a minute, from each node at its own second


class Source:
    """The ledger, which may be away: it is looked for again at each reading."""

    def __init__(self, settings: ReadSettings, where: Where) -> None:
        self._settings = settings
        self._where = where
        self._engine: Engine | None = None

    def read(self) -> Facts:
        """The facts as they are now; raises CannotRead, and OtherZone, which no waiting mends."""
        try:
            engine = self._engine or self._open()
            with reading_within(engine, _DEADLINE_S) as connection:
                return read_facts(connection, self._settings.zone, now_us(), self._where)
        except (TooSlow, *DATABASE_ERRORS) as error:
            self.close()
            raise CannotRead(unusable(self._settings, error)) from error
        except CannotRead:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        if self._engine:
            self._engine.dispose()
        self._engine = None

    def _open(self) -> Engine:
        """An engine on a ledger that this version can read."""
        if not is_there(self._settings):
            raise CannotRead(missing(self._settings))
        self._engine = engine = open_database(self._settings.database_url)
        if not is_current(engine):
            raise CannotRead(outdated(self._settings))
        with reading_within(engine, _DEADLINE_S) as connection:
            check_zone(connection, self._settings.timezone)
        return engine


def top(
    database_url: DatabaseUrl = None,
    timezone: Timezone = None,
    namespace: Annotated[str | None, typer.Option(help="Only what this namespace holds.", metavar="NAME")] = None,
    node: Annotated[str | None, typer.Option(help="Only this node's GPUs.", metavar="NAME")] = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster's GPUs.", metavar="NAME")] = None,
    sort: Annotated[
        str, typer.Option(help="What comes first. Default: the dearest idle spell.", metavar="|".join(Sort))
    ] = Sort.COST.value,
    by: Annotated[
        str, typer.Option(help="What a row stands for. Default: what a container has on a node.", metavar="|".join(By))
    ] = By.CONTAINER.value,
    interval: Annotated[
        float, typer.Option(help="How long from one reading to the next.", min=0.5, metavar="SECONDS")
    ] = _INTERVAL_S,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end, as it does in a pipe.")] = False,
) -> None:
    """Who holds which GPU now, what is idle since when, and what that costs.

    By each node's newest window, which is a minute long: the header says how old the data is. A dash is what is not
    known, not measured or has no price; + says that some of it has no price, or is older than the week that is looked
    at. Reads the database and writes nothing.

    Keys: q quits; arrows, j and k, Page Up and Page Down scroll; p shows each part of a device in a row of its own,
    or containers again; c, h, s, b, m and n sort by what the idle spell has cost, what an hour costs, idle since
    when, busy, memory or name, and the same key again reverses.

    Examples:

        gputally top

        gputally top --namespace research

        gputally top --by partition --sort busy --once
    """
    mistakes: list[str] = []
    shown = Shown(choice("--sort", sort, Sort, mistakes), choice("--by", by, By, mistakes))
    settings = settings_of(ReadSettings, mistakes, database_url=database_url, timezone=timezone)
    if mistakes:
        fail(2, mistakes)
    source = Source(settings, Where(namespace, node, cluster))
    try:
        if once or not sys.stdout.isatty() or Console().is_dumb_terminal:
            _print(source, shown)
        else:
            _live(source, shown, interval)
    except OtherZone as error:
        fail(2, [str(error)])
    finally:
        source.close()


def now_us() -> int:
    """The wall clock, microseconds since the epoch."""
    return time.time_ns() // 1000


def _print(source: Source, shown: Shown) -> None:
    """One frame, as wide as the terminal, or as it needs to be where there is none."""
    try:
        facts = source.read()
    except CannotRead as error:
        fail(1, [str(error)])
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDEST)
    size = Size(console.width if console.is_terminal else None, None, console.options.ascii_only)
    console.print(frame(facts, now_us(), shown, size).drawn)


def _live(source: Source, shown: Shown, interval_s: float) -> None:
    poll = Poll(source.read, interval_s)
    with _ended_by_signals(), keyboard() as typing:
        show(Console(highlight=False), poll, View(poll, shown, now_us, typing=typing.there), typing)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a lost terminal end the program as Ctrl-C does: with the terminal as it was."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)
