"""The thread that tells people: it looks once a minute, sends what waits one at a time, and waits after a failure."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy import Engine

from gputally.collector.database.deadline import TooSlow
from gputally.collector.database.engine import DATABASE_ERRORS
from gputally.collector.notify import queue, turns
from gputally.collector.notify.answer import LONGEST_ASKED_S, Answer, wait_s
from gputally.collector.notify.digest import digest, next_of
from gputally.collector.notify.figures import Frame
from gputally.collector.notify.formats import written
from gputally.collector.notify.look import Look
from gputally.collector.notify.message import Event, Message, clean
from gputally.collector.notify.options import Format
from gputally.collector.notify.stats import NotifyStats

_LOG = logging.getLogger(__name__)

LOOK_EVERY_US = 60_000_000
PER_HOUR = 20  # messages: more than people read; what is beyond is summed up in the last of them
EVERY_S = 15.0  # between two turns; while messages wait that may be sent, PACE_S, as Slack takes one a second
PACE_S = 1.0
_HOUR_US = 3_600_000_000
_US_PER_S = 1_000_000
LONGEST_WAIT_US = LONGEST_ASKED_S * _US_PER_S


class Receiver(Protocol):
    """What takes messages; `webhook.Webhook` is one."""

    def send(self, body: bytes) -> Answer:
        """What became of it; failures are answers as well."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What goes next, and the messages in the queue that it stands for."""

    message: Message
    ids: Sequence[str]
    more: bool


class Notifier:
    """`holder` names this process among replicas; `now_us` is the wall clock, which is all that machines share."""

    def __init__(
        self,
        engine: Engine,
        look: Look,
        receiver: Receiver,
        form: Format,
        frame: Frame,
        holder: str,
        now_us: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._look = look
        self._receiver = receiver
        self._form = form
        self._frame = frame
        self._holder = holder
        self._now_us = now_us
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._tried_us = 0
        self._sent = 0
        self._failed: Counter[str] = Counter()
        self._suppressed: Counter[str] = Counter()

    def stats(self) -> NotifyStats:
        """What this process did so far."""
        return NotifyStats(self._sent, dict(self._failed), dict(self._suppressed))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """End the thread after the turn it is in; what waits is in the database, for the next."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        more = True  # at once: what waited while no replica was there
        while not self._stop.wait(PACE_S if more else EVERY_S):
            more = self.turn()
        try:
            turns.give_up(self._engine, self._holder)
        except DATABASE_ERRORS:
            _LOG.info("another replica goes on telling people in two minutes")

    def turn(self) -> bool:
        """Look where it is time, send one message where one may go; whether another may go at once."""
        try:
            turn = turns.take(self._engine, self._holder, self._now_us())
            if turn is None:
                return False
            self._look_when_due(turn, self._now_us())
            return self._send_one()
        except DATABASE_ERRORS as error:
            _LOG.warning("messages that wait cannot be read, trying again: %s", str(error).partition("\n")[0])
            return False

    def _look_when_due(self, turn: turns.Turn, now_us: int) -> None:
        """A look that fails keeps nothing from being sent; the next one comes when it would have come anyway."""
        if any(0 <= now_us - us < LOOK_EVERY_US for us in (turn.looked_us, self._tried_us)):
            return
        self._tried_us = now_us
        try:
            looked = self._look.look(self._holder, turn, now_us)
        except (TooSlow, *DATABASE_ERRORS) as error:
            _LOG.warning("what there is to tell cannot be read, trying again: %s", str(error).partition("\n")[0])
            return
        self._suppressed["superseded"] += looked.superseded
        self._suppressed["queue-full"] += looked.full

    def _send_one(self) -> bool:
        ready = self._ready()
        if ready is None:
            return False
        answer = self._receiver.send(written(ready.message, self._form))
        self._note(ready, answer)
        return ready.more and not answer.again

    def _ready(self) -> Ready | None:
        """What goes next; None where nothing waits, or nothing may go now."""
        now_us = self._now_us()
        with turns.turning(self._engine) as (connection, turn):
            if turn.holder != self._holder:
                return None
            turns.keep(connection, replace(turn, until_us=now_us + turns.HELD_US))
            self._suppressed["too-old"] += queue.forget(connection, now_us)
            if _waits(turn, now_us):
                return None
            allowed = PER_HOUR - queue.requests_between(connection, now_us - _HOUR_US, now_us)
            waiting = queue.waiting(connection)
            together = next_of(waiting, allowed)
            if not together:
                return None
            ids = [one.id for one in together]
            more = len(waiting) > len(ids)
            if len(ids) == 1:
                return Ready(queue.message(connection, ids[0]), ids, more)
            return Ready(digest(together, turn.left_out, self._frame), ids, more)

    def _note(self, ready: Ready, answer: Answer) -> None:
        """Write down what became of it, and say what went wrong."""
        now_us = self._now_us()
        with turns.turning(self._engine) as (connection, turn):
            if answer.failure is None:
                queue.note_sent(connection, ready.ids, now_us)
            elif not answer.again:
                queue.drop(connection, ready.ids)
            turns.keep(connection, _after(turn, ready, answer, now_us))
        self._count(ready, answer)
        if answer.failure is None and turn.failures:
            _LOG.info("the webhook takes messages again")
        elif answer.again:
            _LOG.warning(
                "the webhook takes no message, trying again in %d s: %s",
                wait_s(turn.failures + 1, answer.after_s),
                answer.said,
            )
        elif answer.failure:
            _LOG.warning("the webhook refuses a message for good (%s): %s", clean(ready.message.subject), answer.said)

    def _count(self, ready: Ready, answer: Answer) -> None:
        if answer.failure:
            self._failed[answer.failure.value] += 1
            return
        self._sent += 1
        if ready.message.event is Event.DIGEST:
            self._suppressed["digest"] += len(ready.ids)


def _waits(turn: turns.Turn, now_us: int) -> bool:
    """Whether a failure is to be waited out; an instant beyond that comes from a clock that was wrong."""
    return now_us < turn.not_before_us <= now_us + LONGEST_WAIT_US


def _after(turn: turns.Turn, ready: Ready, answer: Answer, now_us: int) -> turns.Turn:
    """The turn after an attempt; a message that is refused for good says nothing about the next one."""
    if answer.again:
        failures = turn.failures + 1
        not_before_us = now_us + wait_s(failures, answer.after_s) * _US_PER_S
        return replace(turn, failures=failures, not_before_us=not_before_us)
    told = answer.failure is None and ready.message.event is Event.DIGEST
    return replace(turn, failures=0, not_before_us=0, left_out=0 if told else turn.left_out)
