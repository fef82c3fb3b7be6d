"""The one writer: a bounded queue before it, a thread that commits what is there in one group, answers after commit."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from gputally.collector.database.engine import DATABASE_ERRORS
from gputally.collector.ingest.admission import Outcome, Received, Verdict

_LOG = logging.getLogger(__name__)
_GROUP = 256  # windows of one transaction: past this a commit's fixed cost is spread thin enough
_QUIET_S = 0.05  # nobody came for so long: nobody is waited for
GATHER_S = 0.5  # between commits of groups that are not full: a commit costs as much as ten windows
_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 15.0

Done = Callable[[Outcome], None]


class Commits(Protocol):
    """What the writer needs of a database: `commit.Committer` here."""

    def commit(self, group: Sequence[Received], now_us: int) -> list[Outcome]:
        """Commit the group, then say what became of each window; raises one of DATABASE_ERRORS."""


@dataclass(frozen=True, slots=True)
class WriterStats:
    """What the writer did since it was made; a snapshot.

    `full` counts windows that found no room; `conservation_error_us` is what the states of refused windows missed
    their capacity by (accepted ones never do, I1; it must stay 0); `commit_seconds` is the time that `commits` took.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    lines: int = 0
    conservation_error_us: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    failures: int = 0
    full: int = 0
    queued: int = 0


class Writer:
    """Hands windows to the database in groups, from any thread, and answers when they are committed.

    `now_us` is the wall clock. While the database fails, the writer tries again, first after a quarter of a second and
    then ever later up to 15 s; nothing is answered and nothing is lost meanwhile, the queue just fills.
    """

    def __init__(self, commits: Commits, now_us: Callable[[], int], queue_size: int, gather_s: float = 0.0) -> None:
        """`queue_size` is how many windows may wait (not counting the group that is being committed). While windows
        keep coming, a group that is not full is not committed before `gather_s` have gone by since the last one."""
        self._commits = commits
        self._now_us = now_us
        self._queue_size = queue_size
        self._gather_s = gather_s
        self._next_s = monotonic()  # when a group that is not full may be committed
        self._enough = min(_GROUP, queue_size)
        self._queue: deque[tuple[Received, Done]] = deque()
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._last_error = ""
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._commit_seconds = 0.0

    def start(self) -> None:
        """Start the thread; windows may have been submitted before."""
        self._thread.start()

    def submit(self, received: Received, done: Done) -> bool:
        """Queue a window. False: there is no room now, or the writer is closing; `done` will not be called.

        `done` is called on the writer's thread, after the commit; it must neither block nor raise.
        """
        with self._change:
            if self._closing.is_set() or len(self._queue) >= self._queue_size:
                self._counts["full"] += 1
                return False
            self._queue.append((received, done))
            if len(self._queue) in (1, self._enough):  # what comes between need not wake anybody
                self._change.notify()
            return True

    def finds_room(self, beside: int = 0) -> bool:
        """Whether a window that comes now finds room, beside so many that come before it; one that does not is
        counted."""
        with self._change:
            is_room = len(self._queue) + beside < self._queue_size
            self._counts["full"] += not is_room
            return is_room

    @property
    def healthy(self) -> bool:
        """Whether the thread runs and its last commit succeeded."""
        return self._thread.is_alive() and not self._last_error

    @property
    def has_ended(self) -> bool:
        """Whether the thread is gone, which only another process mends, and nobody closed it."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._closing.is_set()

    @property
    def last_error(self) -> str:
        """Why the last commit failed, one line; empty once one succeeded."""
        return self._last_error

    def stats(self) -> WriterStats:
        """What was done so far."""
        with self._change:
            counts = self._counts
            return WriterStats(
                accepted=counts["accepted"],
                duplicates=counts["duplicate"],
                refused=dict(self._refused),
                lines=counts["lines"],
                conservation_error_us=counts["conservation_error_us"],
                commits=counts["commits"],
                commit_seconds=self._commit_seconds,
                failures=counts["failures"],
                full=counts["full"],
                queued=len(self._queue),
            )

    def close(self, timeout_s: float) -> bool:
        """Take no more, commit what waits, end the thread; False where that was not done in time.

        What could not be committed is never answered, so its agents keep it and send it again.
        """
        with self._change:
            self._closing.set()
            self._change.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._queue

    def _run(self) -> None:
        while group := self._take():
            outcomes = self._commit([received for received, _ in group])
            if outcomes is None:
                self._put_back(group)
                return
            for (_, done), outcome in zip(group, outcomes, strict=True):
                done(outcome)
            self._next_s = monotonic() + self._gather_s

    def _take(self) -> list[tuple[Received, Done]]:
        """What waits, up to a group, once anything does and it is time; empty when closing and nothing is left."""
        with self._change:
            self._change.wait_for(lambda: self._queue or self._closing.is_set())
            self._gather()
            return [self._queue.popleft() for _ in range(min(_GROUP, len(self._queue)))]

    def _gather(self) -> None:
        """Wait until there is a group, until it is time for one that is not full, or until no more come."""
        there = -1
        while there < len(self._queue) and (ahead_s := self._next_s - monotonic()) > 0:
            there = len(self._queue)
            if self._change.wait_for(self._is_enough, min(ahead_s, _QUIET_S)):
                break

    def _is_enough(self) -> bool:
        return len(self._queue) >= self._enough or self._closing.is_set()

    def _put_back(self, group: Sequence[tuple[Received, Done]]) -> None:
        with self._change:
            self._queue.extendleft(reversed(group))

    def _commit(self, group: Sequence[Received]) -> list[Outcome] | None:
        """The outcomes, once the database takes the group; None when closing and it does not."""
        delay_s = _FIRST_RETRY_S
        while True:
            last_try = self._closing.is_set()
            started = monotonic()
            try:
                outcomes = self._commits.commit(group, self._now_us())
            except DATABASE_ERRORS as error:
                self._note_failure(error)
            else:
                self._note_commit(group, outcomes, monotonic() - started)
                return outcomes
            if last_try:
                return None
            self._closing.wait(delay_s)
            delay_s = min(2 * delay_s, _LAST_RETRY_S)

    def _note_failure(self, error: Exception) -> None:
        line = str(error).partition("\n")[0]
        with self._change:
            self._last_error = line
            self._counts["failures"] += 1
        _LOG.warning("the database does not take windows, trying again: %s", line)

    def _note_commit(self, group: Sequence[Received], outcomes: Sequence[Outcome], seconds: float) -> None:
        with self._change:
            if self._last_error:
                _LOG.info("the database takes windows again")
            self._last_error = ""
            self._counts["commits"] += 1
            self._commit_seconds += seconds
            for received, outcome in zip(group, outcomes, strict=True):
                self._count(received, outcome)

    def _count(self, received: Received, outcome: Outcome) -> None:
        self._counts[outcome.verdict.value] += 1
        if outcome.refusal:
            self._refused[outcome.refusal.reason.value] += 1
            self._counts["conservation_error_us"] += received.window.conservation_error_us()
        if outcome.verdict is Verdict.ACCEPTED:
            self._counts["lines"] += len(received.window.layout.device)
