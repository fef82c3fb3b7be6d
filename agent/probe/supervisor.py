"""The parent's side of the probe: start the child, take its samples, and start another when it falls silent or dies.

A child that hangs in the driver may not even be killable; it is left behind and reaped when it ends. Where it hung in a
call for one GPU, its successor leaves that GPU out.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from gputally.agent.probe.child import Child
from gputally.agent.probe.left_out import LeftOut
from gputally.agent.probe.main import ProbeSettings
from gputally.agent.probe.message import BEGIN, FLUSH, Failure, Known, Message, TakeUp
from gputally.agent.sample import Sample

_FIRST_BACKOFF_US = 500_000
_LONGEST_BACKOFF_US = 30_000_000
_LAST_WAIT_S = 2.0  # a child that reads its pipe ends within a tick
_KILLED_WAIT_S = 0.5  # for all that were killed: those that are not in the driver are gone at once
_LONGEST_REST_US = 5_000_000  # how long a message may wait in the pipe, however rare process lists are
_AFTER_LISTS_US = 100_000  # what waits is taken when the next process lists have come: they may name a new pod
_MOST_STUCK = 16  # children stuck in the driver, whose memory nobody can free: beyond them none is started
_MOST_STUCK_FOR_SCOUT = 4  # so that GPUs that are sick leave room for the child that samples the others
_log = logging.getLogger(__name__)


class Supervisor:
    """One child at a time. `receive` returns its next message; silence longer than `deadline_us` ends the child."""

    def __init__(
        self,
        settings: ProbeSettings,
        deadline_us: int,
        start_deadline_us: int,
        monotonic_us: Callable[[], int],
        pause: Callable[[float], object],
        command: Sequence[str] = (sys.executable, "-m", "gputally.agent.probe.main"),
    ) -> None:
        self._settings = settings
        self._deadline_us = deadline_us
        self._start_deadline_us = start_deadline_us
        self._monotonic_us = monotonic_us
        self._pause = pause  # waits that many seconds, or less when the agent stops
        self._command = command
        self._child: Child | None = None
        self._prepared: Child | None = None  # the first one, which waits to be let begin
        self._sampled = False  # this child has brought a sample
        self._left_behind: list[Child] = []
        self._left_out = LeftOut(self._start_scout, start_deadline_us, self._leave)
        self._is_released = False
        self._due_us = 0  # the child must have spoken by then
        self._rest_until_us = 0  # what it says may wait until then
        self._start_us = 0  # no new child before then
        self._backoff_us = _FIRST_BACKOFF_US
        self.starts = 0

    @property
    def problem(self) -> str:
        """What the samples lack, one line; empty when they are of all GPUs."""
        if len(self._left_behind) >= _MOST_STUCK:
            return f"{len(self._left_behind)} probes are stuck in the driver; no other is started before one ends"
        return self._left_out.problem

    def prepare(self) -> None:
        """Make the first child now, a copy of this process while that is small; it touches nothing before `begin`."""
        try:
            self._prepared = Child(None, replace(self._settings, waits=True))
        except OSError as error:
            _log.debug("no copy of this process: %s", error)  # `receive` starts a child, or says why it cannot

    def begin(self) -> None:
        """Let the first child sample before anybody receives."""
        if self._prepared and not self._is_released:
            self._start(0)

    @property
    def has_spoken(self) -> bool:
        """Whether a message of the child waits, or its end."""
        return self._child is not None and self._child.has_spoken

    @property
    def fileno(self) -> int | None:
        """The pipe whose end tells that the child is gone; None while there is none."""
        return self._child.fileno if self._child else None

    @property
    def rest_us(self) -> int:
        """How long nobody needs to receive: messages wait in the pipe as far as they fit. 0 while one waits already.

        However rare process lists are, whoever rests is back when the child should have spoken.
        """
        if not (self._child and self._sampled) or self._left_out.indices or self.has_spoken:
            return 0
        if not self._child.has_been_asked:  # it is on with the next sample
            return 0
        fitting = self._child.room_bytes // (2 * max(1, self._child.largest_bytes))
        until_us = min(self._rest_until_us, self._due_us) - self._monotonic_us()
        return max(0, min(until_us, fitting * self._settings.sample_us, _LONGEST_REST_US))

    def receive(self, timeout_us: int) -> Message | None:
        """The child's next message, or None when none came in time. Starts a child where there is none."""
        if self._is_released:
            self._pause(timeout_us / 1e6)
            return None
        try:
            if self._child is None and not self._start(timeout_us):
                return None
        except OSError as error:
            return self._replace(Failure(f"the probe cannot be started: {error.strerror}"))
        if self._child is None:
            return None
        self._scout()
        self._child.go_on_asking()
        try:
            message = self._child.receive(timeout_us)
        except (EOFError, OSError):
            return self._replace(Failure("the probe ended unexpectedly; a new one is started"))
        return self._silence() if message is None else self._take(message)

    def flush(self, deadline_us: int) -> list[Sample]:
        """The samples up to a full one that is taken from now on; without a full one when none came in time.

        Those on the way count too: the driver's buffers were read for them. Where the driver gave nothing so far, or
        says that it cannot, nobody waits.
        """
        asked_us = self._monotonic_us()
        samples: list[Sample] = []
        if self._sampled:
            self._ask(FLUSH)
        while self._sampled and (left_us := asked_us + deadline_us - self._monotonic_us()) > 0:
            message = self.receive(left_us)
            if isinstance(message, Failure):
                break
            if isinstance(message, Sample):
                samples.append(message)
                if message.full and message.monotonic_us >= asked_us:
                    break
        return samples

    def know(self, uids: frozenset[str]) -> None:
        """Tell the child which pods are this node's."""
        self._ask(Known(uids))

    def release(self) -> bool:
        """End every child, so that nothing here has the driver open, until `take_up`; whether all could be ended."""
        self._is_released = True
        self.close()
        return not self._left_behind

    def take_up(self) -> None:
        """Start a child again. The driver may be another one now."""
        self._is_released = False
        self._left_out.forget()
        self._start_us = 0
        self._backoff_us = _FIRST_BACKOFF_US

    def close(self) -> None:
        """Close the pipes, which ends the child, and wait for it a moment; a stuck one is left to the kernel."""
        children = [child for child in (self._child, self._prepared, self._left_out.close()) if child]
        if self._prepared:
            self._prepared.disconnect()
            self._prepared = None
        self._disconnect()
        for child in children:
            if not child.ends_within(_LAST_WAIT_S / len(children)):
                self._leave(child)
        wait_s = _KILLED_WAIT_S / max(1, len(self._left_behind))
        self._left_behind = [left for left in self._left_behind if not left.ends_within(wait_s)]

    def _start(self, timeout_us: int) -> bool:
        wait_us = self._start_us - self._monotonic_us()
        if wait_us > 0:
            self._pause(min(wait_us, timeout_us) / 1e6)
            return False
        self._reap()
        if len(self._left_behind) >= _MOST_STUCK:  # their end will show that the driver goes on
            self._pause(timeout_us / 1e6)
            return False
        self._child = self._first() or Child(self._command, replace(self._settings, left_out=self._left_out.indices))
        self._due_us = self._monotonic_us() + self._start_deadline_us
        self.starts += 1
        return True

    def _first(self) -> Child | None:
        """The child that was prepared, once."""
        child, self._prepared = self._prepared, None
        if child:
            child.ask(BEGIN)
        return child

    def _start_scout(self, index: int) -> Child | None:
        """None while too many are stuck, or no process can be started: asked again."""
        self._reap()
        if len(self._left_behind) >= _MOST_STUCK_FOR_SCOUT:
            return None
        try:
            return Child(self._command, replace(self._settings, only=index))
        except OSError as error:
            _log.debug("no scout: %s", error)
            return None

    def _scout(self) -> None:
        """Once the others are well, see to those that are left out."""
        if self._sampled and (index := self._left_out.step(self._monotonic_us())) is not None:
            self._ask(TakeUp(index))

    def _take(self, message: Message) -> Message:
        now_us = self._monotonic_us()
        self._due_us = now_us + self._deadline_us
        if isinstance(message, Sample):
            self._due_us -= min(max(0, now_us - message.monotonic_us), _LONGEST_REST_US)  # it may have waited
            self._backoff_us = _FIRST_BACKOFF_US
            self._sampled = True
            if message.full:
                self._rest_until_us = message.monotonic_us + self._settings.processes_us + _AFTER_LISTS_US
            return self._left_out.complete(message)
        self._rest_until_us = 0
        if message.fatal:
            self._left_out.forget()
            self._replace(message)
        return message

    def _silence(self) -> Failure | None:
        if self._monotonic_us() < self._due_us or self._child is None:
            return None
        index = self._child.touching
        if index is None:
            return self._replace(Failure("the driver did not answer in time; a new probe is started"))
        self._left_out.add(index, self._monotonic_us())
        name = self._left_out.name(index)
        return self._replace(Failure(f"{name} did not answer in time; a new probe is started without it"))

    def _replace(self, why: Failure) -> Failure:
        """Give up on this child; nobody waits for it. Returns why."""
        child = self._child
        self._disconnect()
        if child is not None:
            _log.warning("a probe is given up: %s", why.message)  # each time, though the news may be the same
            self._leave(child)
        self._reap()
        self._start_us = self._monotonic_us() + self._backoff_us
        self._backoff_us = min(2 * self._backoff_us, _LONGEST_BACKOFF_US)
        return why

    def _leave(self, child: Child) -> None:
        child.kill()
        self._left_behind.append(child)

    def _reap(self) -> None:
        self._left_behind = [left for left in self._left_behind if not left.has_ended]

    def _disconnect(self) -> None:
        if self._child is not None:
            self._child.disconnect()
        self._child = None
        self._sampled = False

    def _ask(self, request: object) -> None:
        if self._child is not None:
            self._child.ask(request)
