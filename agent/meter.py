"""The meter of a node: samples and reservations go in, finished windows come out.

It has no thread, no clock and no file: the running agent, the demo's back-fill and the tests drive the same code.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gputally.accounting.line import Window
from gputally.agent.attribution.account import DeviceAccount
from gputally.agent.attribution.energy import IdlePower
from gputally.agent.attribution.process_track import Owners
from gputally.agent.clock import Instant, Timeline
from gputally.agent.held import UNKNOWN, Held, Placement
from gputally.agent.reservations.holders import place
from gputally.agent.sample import DeviceInfo, DeviceSample, Sample
from gputally.agent.window import DeviceFold

DRIVER_BUFFER_US = 10_000_000  # the driver's sample buffer reaches back about this far: later is too late
LONGEST_HOLD_US = 86_400_000_000  # windows further ahead than a day were a leap of the clock, which nobody accepted


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """Which node, and how time is cut. Intervals are microseconds; the window divides a minute."""

    cluster: str
    node: str
    window_us: int = 60_000_000
    sample_interval_us: int = 1_000_000
    process_interval_us: int = 5_000_000

    @property
    def patience_us(self) -> int:
        """How long after a window's end a late sample may still explain it."""
        return DRIVER_BUFFER_US + self.process_interval_us + 2 * self.sample_interval_us


class Meter:
    """All devices of a node and the window that is open. One thread calls it.

    `sent_us`: the end of the last window that a meter of this node made before; time up to there is not counted again.
    """

    def __init__(self, settings: MeterSettings, owners: Owners, *, kubernetes: bool, sent_us: int = 0) -> None:
        self._settings = settings
        self._owners = owners
        self._timeline = Timeline()
        self._placement: Placement = _unknown if kubernetes else _free
        self._accounts: dict[str, DeviceAccount] = {}
        self._folds: dict[str, DeviceFold] = {}
        self._idle: dict[str, IdlePower] = {}
        self._start_us = 0
        self._edges: deque[int] = deque()  # instants at which a window ends before its grid cell does
        self._sent_us = sent_us
        self._held_since_us: int | None = None  # monotonic: the first sample, where it is of time that was sent before
        self._last: tuple[Instant, int] | None = None  # the last sample's instant and its monotonic time
        self._skipped_us = 0
        self._waited_us = 0
        self._stepped = False  # the wall clock was stepped since the last sample that counts
        self._behind = False  # it was set back since the last window
        self._is_early = False  # and is before the end of what was sent
        self._booked: tuple[Instant, int] | None = None  # as `_last`, where it was first stepped since the last window

    def held(self, uuid: str) -> Held:
        """Who holds a device now; nobody knows of a device that was never seen."""
        return self._accounts[uuid].held if uuid in self._accounts else UNKNOWN

    @property
    def problem(self) -> str:
        """Why time is not counted now, in one line; empty when it is."""
        if not self._is_early:
            return ""
        until = datetime.fromtimestamp(self._sent_us // 1_000_000, UTC)
        return f"the clock was set back, to time that was counted before: GPU time counts again from {until:%F %T} UTC"

    def on_reservations(self, monotonic_us: int, placement: Placement) -> None:
        """The kubelet's word as of this instant."""
        self._placement = placement
        if self._accounts:
            self._place(self._now_us(monotonic_us))

    def on_sample(self, sample: Sample) -> list[Window]:
        """Take a sample; returns the windows that it finished."""
        instant = self._timeline.at(sample.monotonic_us, sample.wall_us)
        windows = self._step(instant.step_us) if instant.step_us else []
        is_billed = 0 <= self._sent_us - instant.us <= LONGEST_HOLD_US
        self._is_early = is_billed and not self._accounts  # else it is only a sample that came late
        if is_billed:
            if self._last is None and self._held_since_us is None:
                self._held_since_us = sample.monotonic_us
            return windows
        self._resume(instant, sample.monotonic_us)
        self._observe(instant, sample.devices)
        self._last = (instant, sample.monotonic_us)
        if not sample.full and instant.us < self._end_us():
            return windows  # no more can be attributed before processes are known
        return windows + self._advance(instant.us)

    def on_time(self, monotonic_us: int) -> list[Window]:
        """No sample came: after long enough, windows close without one."""
        if not self._accounts or not self._last:
            return []
        return self._advance(self._now_us(monotonic_us))

    def cut(self, monotonic_us: int) -> list[Window]:
        """Close the open window here and now: the agent stops, or the clock was stepped."""
        if not self._accounts or not self._last:
            return []
        now_us = self._now_us(monotonic_us)
        windows = self._advance(now_us)
        while self._accounts and self._end_us() <= now_us:
            windows.append(self._force(self._end_us(), now_us))
        if now_us > self._start_us:
            windows.append(self._force(now_us, now_us))
        self._accounts.clear()
        self._folds.clear()
        self._edges.clear()
        return windows

    def _now_us(self, monotonic_us: int) -> int:
        instant, then_us = self._last or (Instant(0, 0), 0)
        return instant.us + monotonic_us - then_us

    def _step(self, step_us: int) -> list[Window]:
        """The wall clock was stepped: end the window at the last sample, and begin anew on the new timeline."""
        windows = self.cut(self._last[1]) if self._last else []
        self._booked = self._booked or self._last
        self._stepped = True
        for idle in self._idle.values():
            idle.interrupt()
        self._behind |= step_us < 0
        return windows

    def _resume(self, instant: Instant, monotonic_us: int) -> None:
        """Time counts again after steps of the clock: say how much wall time was skipped, and how long was not counted.

        Steps that undo each other before anything is booked skip nothing, so only their sum is looked at.
        """
        if self._stepped and self._booked:
            booked, then_us = self._booked
            elapsed_us = monotonic_us - then_us
            self._skipped_us = max(0, instant.us - booked.us - elapsed_us)
            billed_us = max(0, self._sent_us - booked.us)  # windows that were closed without a sample
            self._waited_us = max(0, elapsed_us - billed_us) if self._behind else 0
        if self._held_since_us is not None:
            self._waited_us, self._held_since_us = monotonic_us - self._held_since_us, None
        self._stepped = False

    def _observe(self, instant: Instant, samples: Sequence[DeviceSample]) -> None:
        fresh = [sample for sample in samples if sample.info.uuid not in self._accounts]
        known = [(self._accounts[s.info.uuid], s) for s in samples if s.info.uuid in self._accounts]
        repartitioned = [account for account, sample in known if account.is_repartitioned(sample.info)]
        for account, sample in known:
            account.observe(instant, sample)
        if repartitioned:
            self._edges.append(instant.us)  # a partition has one profile within a window
            self._place(instant.us)
        if fresh:
            self._open_accounts(instant, fresh)

    def _place(self, now_us: int) -> None:
        placed = self._placement([account.info for account in self._accounts.values()])
        for uuid, account in self._accounts.items():
            account.hold(now_us, placed.get(uuid, UNKNOWN))

    def _open_accounts(self, instant: Instant, fresh: Sequence[DeviceSample]) -> None:
        if not self._accounts:
            self._start_us = instant.us
        placed = self._placement([*(a.info for a in self._accounts.values()), *(s.info for s in fresh)])
        interval_us = self._settings.sample_interval_us
        for sample in fresh:
            uuid = sample.info.uuid
            held = placed.get(uuid, UNKNOWN)
            idle = self._idle.setdefault(uuid, IdlePower())
            self._accounts[uuid] = DeviceAccount(instant, sample, held, interval_us, idle, self._owners)
            self._folds[uuid] = DeviceFold(instant.us)

    def _end_us(self) -> int:
        grid_us = (self._start_us // self._settings.window_us + 1) * self._settings.window_us
        return min(grid_us, self._edges[0]) if self._edges else grid_us

    def _advance(self, now_us: int) -> list[Window]:
        """Attribute what is known, and close every window that is fully known or that was waited for long enough."""
        windows = []
        while self._accounts:
            end_us = self._end_us()
            if now_us - end_us > self._settings.patience_us:
                windows.append(self._force(end_us, now_us))
                continue
            for uuid, account in self._accounts.items():
                self._folds[uuid].fold(account.advance(min(account.ready_us, end_us)))
            if any(account.done_us < end_us for account in self._accounts.values()):
                break
            windows.append(self._close(end_us))
        return windows

    def _force(self, end_us: int, now_us: int) -> Window:
        """Close the window at `end_us` with what is known: the rest of it holds the last value or is unobserved."""
        for uuid, account in self._accounts.items():
            self._folds[uuid].fold(account.advance(min(account.ready_us, end_us)))
            account.give_up(end_us, now_us)
            self._folds[uuid].fold(account.advance(end_us))
        return self._close(end_us)

    def _close(self, end_us: int) -> Window:
        devices = []
        for uuid, account in self._accounts.items():
            fold = self._folds[uuid]
            fold.fold([account.cut()])
            if fold.end_us > fold.start_us:
                idle_mw = account.idle_power.lowest_mw
                devices.append(fold.close(account.info, account.energy, idle_mw, account.quality_of))
            account.forget(end_us)
            self._folds[uuid] = DeviceFold(max(end_us, fold.start_us))
        window = Window(
            self._settings.cluster,
            self._settings.node,
            self._start_us,
            end_us,
            tuple(devices),
            self._skipped_us,
            self._waited_us,
        )
        self._start_us = self._sent_us = end_us
        while self._edges and self._edges[0] <= end_us:
            self._edges.popleft()
        self._skipped_us = self._waited_us = 0
        self._booked, self._behind = None, False
        return window


def _unknown(_: Sequence[DeviceInfo]) -> dict[str, Held]:
    """Nobody was asked yet."""
    return {}


def _free(devices: Sequence[DeviceInfo]) -> dict[str, Held]:
    """No kubelet, no reservations."""
    return place(devices, (), ())
