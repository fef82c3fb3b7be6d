"""What may enter the ledger now: the rules for a window's time, and for one beside those that are already accepted."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum
from typing import NamedTuple

from gputally.accounting.ledger_hour import hour_start
from gputally.collector.ingest.columns import WindowColumns

MAX_WINDOW_US = 60_000_000  # the longest grid cell; also how far back a window can reach that overlaps another
MAX_AHEAD_US = 300_000_000  # a clock that is further off than this cannot be booked


class RefusalReason(StrEnum):
    """Why a window was refused; the strings stand in the quarantine."""

    INVALID = "invalid"  # it does not keep the accounting's rules
    CONFLICT = "conflict"  # it overlaps an accepted window of its node, or is another one with the same start
    CLOCK = "clock"  # the agent's clock is too far off; found at the edge, where the arrival is known
    TOO_OLD = "too-old"  # the lines of its time are no longer kept
    IDENTITY = "identity"  # its sender may not write for this node or cluster; found at the edge


class Verdict(StrEnum):
    """What became of a window. All but the last are final: the agent may forget the window."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the same bytes were accepted before
    REFUSED = "refused"
    FAILED = "failed"  # a defect of ours: nobody has judged it, and its agent keeps it


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a window is refused, and a line for the agent's log that says what is wrong."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on a window; `refusal` is there exactly when it was refused, `defect` when it failed."""

    verdict: Verdict
    refusal: Refusal | None = None
    defect: Exception | None = None


ACCEPTED = Outcome(Verdict.ACCEPTED)
DUPLICATE = Outcome(Verdict.DUPLICATE)


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What an agent says of its spool: what it refused since it was made (`refused_us` is device time), what waits.

    `oldest_us` is the start of the oldest window that waits, 0 where none does.
    """

    refused_windows: int
    refused_us: int
    waiting_windows: int
    oldest_us: int


@dataclass(frozen=True, slots=True)
class Received:
    """A window as it came in: its bytes, and what they say, not examined yet.

    `received_us` is the collector's wall clock at arrival. `refusal` is what the edge found wrong already (a clock
    that is off, bytes that contradict themselves; of the latter, `window` has no devices).
    """

    message: bytes
    window: WindowColumns
    agent_id: str
    boot_id: str
    sequence: int
    received_us: int
    refusal: Refusal | None = None
    spool: SpoolState | None = None  # with the last window of a batch


def age_refusal(window: WindowColumns, now_us: int, max_age_us: int | None) -> Refusal | None:
    """Refuses a window that ended more than `max_age_us` ago (None: lines are kept for ever)."""
    if max_age_us is None or window.end_us >= now_us - max_age_us:
        return None
    age = (now_us - window.end_us) // 1_000_000
    return Refusal(RefusalReason.TOO_OLD, f"the window ended {age} s ago, lines are kept {max_age_us // 1_000_000} s")


def forgotten_refusal(window: WindowColumns, zone: tzinfo, lines_from_us: int) -> Refusal | None:
    """Refuses a window of an hour whose lines are removed already (before `lines_from_us`), whatever the setting says
    now: nobody recomputes that hour any more, so the window would be accepted and never be booked."""
    if hour_start(window.start_us, zone) >= lines_from_us:
        return None
    return Refusal(RefusalReason.TOO_OLD, "the lines of its hour are removed: its postings do not change any more")


def future_refusal(window: WindowColumns, now_us: int) -> Refusal | None:
    """Refuses a window that ends more than five minutes from now: the clock that made it was ahead, whatever the
    agent's clock says since."""
    if window.end_us <= now_us + MAX_AHEAD_US:
        return None
    return Refusal(RefusalReason.CLOCK, f"the window ends {(window.end_us - now_us) // 1_000_000} s in the future")


class Span(NamedTuple):
    """The time of a window, and the hash of its content."""

    start_us: int
    end_us: int
    content_hash: bytes


@dataclass(slots=True)
class Timeline:
    """The accepted windows of one node near the ones in question; they never overlap."""

    _spans: list[Span] = field(default_factory=list)

    def add(self, span: Span) -> None:
        """Note an accepted window."""
        insort(self._spans, span)

    def judge(self, span: Span) -> Outcome:
        """Whether a window is new here, was accepted before, or contradicts what was accepted."""
        at = bisect_left(self._spans, (span.start_us,))
        for taken in self._spans[max(0, at - 1) : at + 1]:
            if taken == span:
                return DUPLICATE
            if taken.start_us < span.end_us and span.start_us < taken.end_us:
                return Outcome(Verdict.REFUSED, _conflict(span, taken))
        return ACCEPTED


def _conflict(span: Span, taken: Span) -> Refusal:
    return Refusal(
        RefusalReason.CONFLICT,
        f"[{span.start_us}, {span.end_us}) us overlaps the accepted window [{taken.start_us}, {taken.end_us}) us "
        "of this node, whose content is another; is one node name used twice?",
    )
