"""What may enter the ledger: the rules for one window, and for a window beside those that are already accepted."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum

from gputally.accounting.invariants import violations
from gputally.accounting.keys import Owner
from gputally.accounting.ledger_hour import hour_end, hour_start
from gputally.accounting.line import DeviceWindow, Line, Window

MAX_WINDOW_US = 60_000_000  # the longest grid cell; also how far back a window can reach that overlaps another
MAX_AHEAD_US = 300_000_000  # a clock that is further off than this cannot be booked
MAX_DEVICES = 1_024  # of a node; the largest have 16, and MIG does not make more of them
MAX_LINES = 50_000  # of a window: 16 devices × 7 instances × hundreds of containers
MAX_TEXT_BYTES = 256  # a Kubernetes name has at most 253; the keys of names must fit PostgreSQL's index rows
MAX_AMOUNT = 10**14  # µs, mJ, byte-seconds: 3 years, 27 GWh, 1.6 TB for a minute; thousands still fit a total
_LATEST_US = 4_102_444_800_000_000  # the year 2100: past it a clock is not wrong but nonsense
_MAX_INT = 2**63 - 1  # a column of the database


class RefusalReason(StrEnum):
    """Why a window was refused; the strings stand in the quarantine."""

    INVALID = "invalid"  # it does not keep the accounting's rules
    CONFLICT = "conflict"  # it overlaps an accepted window of its node, or is another one with the same start
    CLOCK = "clock"  # the agent's clock is too far off; found at the edge, where the arrival is known
    TOO_OLD = "too-old"  # the lines of its time are no longer kept
    IDENTITY = "identity"  # its sender may not write for this node or cluster; found at the edge


class Verdict(StrEnum):
    """What became of a window. All three are final: the agent may forget the window."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the same bytes were accepted before
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a window is refused, and a line for the agent's log that says what is wrong."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on a window; `refusal` is there exactly when it was refused."""

    verdict: Verdict
    refusal: Refusal | None = None


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
    """A window as it came in: its bytes, and what they say.

    `received_us` is the collector's wall clock at arrival. `refusal` is what the edge found wrong already (a clock
    that is off, bytes that contradict themselves; of the latter, `window` has no devices).
    """

    message: bytes
    window: Window
    agent_id: str
    boot_id: str
    sequence: int
    received_us: int
    refusal: Refusal | None = None
    spool: SpoolState | None = None  # with the last window of a batch


def invalidity(received: Received, zone: tzinfo) -> Refusal | None:
    """Why this window can never enter a ledger of this billing time zone, whatever is in it; None: it can."""
    fault = _misfit(received) or _wrong_time(received.window, zone) or "; ".join(violations(received.window))
    return Refusal(RefusalReason.INVALID, fault) if fault else None


def age_refusal(window: Window, now_us: int, max_age_us: int | None) -> Refusal | None:
    """Refuses a window that ended more than `max_age_us` ago (None: lines are kept for ever)."""
    if max_age_us is None or window.end_us >= now_us - max_age_us:
        return None
    age = (now_us - window.end_us) // 1_000_000
    return Refusal(RefusalReason.TOO_OLD, f"the window ended {age} s ago, lines are kept {max_age_us // 1_000_000} s")


def forgotten_refusal(window: Window, zone: tzinfo, lines_from_us: int) -> Refusal | None:
    """Refuses a window of an hour whose lines are removed already (before `lines_from_us`), whatever the setting says
    now: nobody recomputes that hour any more, so the window would be accepted and never be booked."""
    if hour_start(window.start_us, zone) >= lines_from_us:
        return None
    return Refusal(RefusalReason.TOO_OLD, "the lines of its hour are removed: its postings do not change any more")


def future_refusal(window: Window, now_us: int) -> Refusal | None:
    """Refuses a window that ends more than five minutes from now: the clock that made it was ahead, whatever the
    agent's clock says since."""
    if window.end_us <= now_us + MAX_AHEAD_US:
        return None
    return Refusal(RefusalReason.CLOCK, f"the window ends {(window.end_us - now_us) // 1_000_000} s in the future")


@dataclass(frozen=True, slots=True, order=True)
class Span:
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
        at = bisect_left(self._spans, span.start_us, key=lambda taken: taken.start_us)
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


def _wrong_time(window: Window, zone: tzinfo) -> str:
    length = window.end_us - window.start_us
    if not 0 <= window.start_us < window.end_us <= _LATEST_US:
        return f"[{window.start_us}, {window.end_us}) us is not a stretch of time between 1970 and 2100"
    if length > MAX_WINDOW_US:
        return f"the window is {length} us long, the longest is {MAX_WINDOW_US} us"
    if hour_end(hour_start(window.start_us, zone), zone) < window.end_us:
        return f"the window crosses the end of a ledger hour of {zone}"
    return ""


def _misfit(received: Received) -> str:
    """What a column cannot hold, so that no statement fails on it later; '' where all of it fits."""
    window = received.window
    lines = sum(len(device.lines) for device in window.devices)
    edges = sum(len(device.start_holders) + len(device.end_holders) for device in window.devices)
    if len(window.devices) > MAX_DEVICES or max(lines, edges) > MAX_LINES:
        return f"{len(window.devices)} devices, {lines} lines and {edges} holders are more than a node has"
    holders = [held for device in window.devices for held in (*device.start_holders, *device.end_holders)]
    owners = {line.key.owner for device in window.devices for line in device.lines} | {held.owner for held in holders}
    texts = [window.cluster, window.node, received.agent_id, received.boot_id]
    texts += [device.uuid for device in window.devices] + [device.model for device in window.devices]
    texts += {line.key.partition for device in window.devices for line in device.lines}
    texts += {held.partition for held in holders}
    texts += {profile for device in window.devices for profile in device.profiles.values()}
    texts += [text for owner in owners for text in _texts(owner)]
    if not (window.cluster and window.node):
        return "the window does not name its cluster and node"
    for text in texts:
        if "\0" in text or len(text.encode()) > MAX_TEXT_BYTES:
            return f"{text[:32]!a}… is longer than {MAX_TEXT_BYTES} bytes, or holds a NUL"
    numbers = [received.sequence, window.skipped_us, window.waited_us, *(owner.first_seen_us for owner in owners)]
    numbers += [part for held in holders for part in held.share.as_integer_ratio()]
    if any(not 0 <= number <= _MAX_INT for number in numbers):
        return "a number of the window's head is negative, or larger than 2^63 - 1"
    return next((fault for device in window.devices for fault in _large(device)), "")


def _texts(owner: Owner) -> tuple[str, ...]:
    return (owner.namespace, owner.pod, owner.container, owner.pod_uid, owner.user, owner.unit)


def _large(device: DeviceWindow) -> Iterator[str]:
    counters = (device.energy_start_mj or 0, device.energy_end_mj or 0, device.energy_breaks)
    if not 0 <= min(counters) <= max(counters) <= _MAX_INT or device.energy_breaks >= 2**31:
        yield f"{device.uuid}: an energy counter is negative, or larger than 2^63 - 1"
    if max(device.ghost_memory_byte_s, device.idle_power_mw or 0) > MAX_AMOUNT:
        yield f"{device.uuid}: its memory or idle power is more than {MAX_AMOUNT} byte-seconds or mW"
    for line in device.lines:
        if _largest(line) > MAX_AMOUNT:
            yield f"{device.uuid}: a line of {line.key.owner.text} holds more than {MAX_AMOUNT} us, mJ or byte-seconds"


def _largest(line: Line) -> int:
    memos = max(line.burst_us, line.intruder_us, line.held_us, line.memory_byte_s or 0)
    return max(memos, line.capacity_us, line.energy_idle_mj or 0, line.energy_dynamic_mj or 0)
