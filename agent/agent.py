"""The agent's loop: samples to windows, windows to the spool, and a snapshot for whoever asks.

One thread runs it. Reservations, pods and the stream have threads of their own; they are read here, never waited for.
Samples may wait in the pipe until the next process lists come: whoever asks for a snapshot has them taken first.
A snapshot is made when somebody asks, not at every tick: they ask rarely, and it is more work than the tick itself.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from gputally.accounting.invariants import violations
from gputally.accounting.line import Window
from gputally.agent.meter import Meter
from gputally.agent.pod_info import PodOf, pod_infos
from gputally.agent.probe.message import Failure, Message
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.release import Release
from gputally.agent.reservations.grants import ReservationPoller
from gputally.agent.rest import Rest
from gputally.agent.sample import DeviceSample, Sample
from gputally.agent.snapshot import Snapshot, SourceState, StreamState
from gputally.agent.spool.spool import Spool
from gputally.agent.totals import Totals

_FLUSH_US = 3_000_000
_RELEASE_FLUSH_US = 1_000_000  # whoever wants the driver has it within five seconds, the probe's end included
_LOOK_S = 1.0  # for the loop to finish what it is at; it is at nothing for longer, unless its disk hangs
_APART_US = 250_000  # asked for processes again sooner, the driver has nothing new of them yet, though of their device
_LONGEST_WAIT_US = 1_000_000  # so that a release is noticed in time, however rare samples are
_STUCK = "the agent counts nothing now: it waits for its disk (--spool-dir), or for a processor"
_log = logging.getLogger(__name__)


class Stream(Protocol):
    """What the loop needs to know of the stream."""

    @property
    def state(self) -> StreamState:
        """How the conversation with the collector stands."""


@dataclass(frozen=True, slots=True)
class ApiState:
    """Whether the pods of this node are known; `error` is one line, empty when nothing is wrong."""

    synced: bool
    error: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the loop reads from. `poller`, `api`, `stream` and `node` are None where they are switched off.

    `node` is the watch of the node's own object: without it only a signal can ask for a release. `rest` is how the loop
    pauses; None: it takes each sample as it comes.
    """

    probe: Supervisor
    poller: ReservationPoller | None
    pod_uids: Callable[[], Collection[str]]
    pod_of: PodOf
    api: Callable[[], ApiState] | None
    stream: Stream | None
    release: Release = field(default_factory=Release)
    node: Callable[[], ApiState] | None = None
    rest: Rest | None = None


class Agent:
    """Takes what the sources bring, keeps it, and can always say how things stand (`snapshot`)."""

    def __init__(
        self,
        node: str,
        sources: Sources,
        meter: Meter,
        spool: Spool,
        totals: Totals,
        monotonic_us: Callable[[], int],
        standing_problem: str = "",
    ) -> None:
        self._sources = sources
        self._meter = meter
        self._spool = spool
        self._totals = totals
        self._monotonic_us = monotonic_us
        self._standing_problem = standing_problem  # what cannot change while we run
        self._nvml_problem = "no sample was taken yet"
        self._released = ""  # why the driver is not ours now
        self._is_free = False  # and nothing here has it open any more
        self._took_us: int | None = None  # how long the last sample took
        self._listed_us = 0  # when the last one with processes was taken
        self._samples = 0
        self._rejected: Counter[str] = Counter()
        self._pods_seen: frozenset[str] = frozenset()
        self._told: tuple[int, frozenset[str]] = (0, frozenset())
        self._node_error = ""
        self._said: tuple[str, ...] = (self._nvml_problem,)  # at every start, so no news for the log
        self._busy = threading.Lock()  # held while what a snapshot is made of changes
        self._last_look = Snapshot(node, not_ready=(self._nvml_problem,))

    @property
    def snapshot(self) -> Snapshot:
        """How things stand now; from any thread. Where the loop is stuck, how they stood when somebody last asked."""
        if self._sources.rest:
            self._sources.rest.interrupt(_LOOK_S)
        if not self._busy.acquire(timeout=_LOOK_S):
            return replace(self._last_look, not_ready=(*self._last_look.not_ready, _STUCK))
        try:
            self._last_look = self._look()
            return self._last_look
        finally:
            self._busy.release()

    def run(self, stop: threading.Event, interval_us: int) -> None:
        """Until `stop` is set; then the time up to now is sampled once more, and the last window is kept."""
        while not stop.is_set():
            self.step(interval_us)
            if self._sources.rest:
                self._pause(self._sources.rest, stop)
        self.finish()

    def step(self, timeout_us: int) -> None:
        """Take the probe's next message, or notice that none came."""
        self._obey_release()
        self._tell_pods()
        self.take(self._sources.probe.receive(min(timeout_us, _LONGEST_WAIT_US)))

    def _pause(self, rest: Rest, stop: threading.Event) -> None:
        """Until there is something to do that cannot wait."""
        while not stop.is_set() and self._sources.release.reason == self._released:
            longest_us = self._sources.probe.rest_us
            if not longest_us:
                return
            rest.take(longest_us, self._sources.probe.fileno)

    def finish(self) -> None:
        """Cut the window at one last sample. What the collector does not take before we end stays in the spool."""
        samples = self._flush(_FLUSH_US)
        with self._busy:
            self._take_reservations()
            self._keep(self._meter.cut(samples[-1].monotonic_us if samples else self._monotonic_us()))

    def _flush(self, deadline_us: int) -> list[Sample]:
        """Take what the probe has, up to one last sample with processes."""
        if self._sources.rest:
            self._come_apart(self._sources.rest)
        samples = self._sources.probe.flush(deadline_us)
        for sample in samples:
            self.take(sample)
        return samples

    def _come_apart(self, rest: Rest) -> None:
        """Take what waits, and wait until processes may be asked for again."""
        while self._sources.probe.has_spoken:
            self.take(self._sources.probe.receive(0))
        while (left_us := self._listed_us + _APART_US - self._monotonic_us()) > 0:
            rest.take(left_us)

    def take(self, message: Message | None) -> None:
        """Account for one message of the probe, or for time that passed without one."""
        with self._busy:
            self._account(message)
        self._say(self._not_ready())

    def _account(self, message: Message | None) -> None:
        if isinstance(message, Sample):
            # The first one's devices begin with all that is known.
            self._take_reservations(message.monotonic_us if self._samples else None)
            self._keep(self._on_sample(message))
        else:
            self._take_reservations()
            if isinstance(message, Failure):
                self._nvml_problem = message.message
                self._totals.unsample()
            self._keep(self._meter.on_time(self._monotonic_us()))

    def _obey_release(self) -> None:
        """Let the driver go while somebody asks for it, after a last sample; the devices stay, their time passes."""
        wanted = self._sources.release.reason
        if wanted and not self._released:
            self._flush(_RELEASE_FLUSH_US)
        if wanted and not self._is_free:
            self._let_go(wanted)  # again and again while a probe is stuck: it may end
        elif self._released and not wanted:
            self._is_free = False
            self._sources.probe.take_up()
            self._nvml_problem = "the driver was released; no sample was taken since"
            _log.info("the driver is taken up again")
        self._released = wanted

    def _let_go(self, why: str) -> None:
        self._is_free = self._sources.probe.release()
        with self._busy:
            self._totals.unsample()
        self._took_us = None
        self._nvml_problem = f"the driver is released and GPU time is unobserved: {why}"
        if not self._is_free:
            self._nvml_problem = f"a probe is stuck in the driver and cannot let it go; {why}"

    def _on_sample(self, sample: Sample) -> list[Window]:
        self._samples += 1
        self._took_us = sample.took_us
        self._listed_us = sample.monotonic_us if sample.full else self._listed_us
        self._nvml_problem = sample.problem if sample.devices else "NVML shows no GPU on this node"
        for device in sample.devices:
            for reading in (device.reading, device.detail):
                if reading and reading.rejected:
                    self._rejected.update(reading.rejected)
        self._ask_about(sample.devices)
        windows = self._meter.on_sample(sample)
        self._totals.observe(sample, self._meter.held)
        return windows

    def _ask_about(self, devices: Iterable[DeviceSample]) -> None:
        """A pod appeared on a GPU: ask the kubelet now instead of at its next turn."""
        details = [device.detail.processes or () for device in devices if device.detail]
        if not details:
            return
        refs = (p.process.container for found in details for p in found if p.process and p.process.container)
        seen = frozenset(ref.pod_uid for ref in refs if ref.pod_uid)
        if self._sources.poller and seen - self._pods_seen:
            self._sources.poller.wake()
        self._pods_seen = seen

    def _take_reservations(self, until_us: int | None = None) -> None:
        """Up to the time of a sample, which may have waited; later ones belong to the next."""
        if self._sources.poller:
            for at_us, placement in self._sources.poller.take(until_us):
                self._meter.on_reservations(at_us, placement)

    def _tell_pods(self) -> None:
        """The probe tells nested pods from the billable one by the UIDs of this node; a new child must be told anew."""
        told = (self._sources.probe.starts, frozenset(self._sources.pod_uids()))
        if told != self._told and told[0]:
            self._sources.probe.know(told[1])
            self._told = told

    def _keep(self, windows: list[Window]) -> None:
        if not windows:
            return
        for window in windows:
            for violation in violations(window):
                _log.error("a window breaks its own rules: %s", violation)
        self._spool.append(windows)
        self._totals.fold(windows, self._monotonic_us())

    def _say(self, reasons: tuple[str, ...]) -> None:
        """Each news once."""
        for reason in reasons:
            if reason not in self._said:
                _log.warning("not ready: %s", reason)
        if self._said and not reasons:
            _log.info("ready")
        self._said = reasons
        node_error = self._sources.node().error if self._sources.node else ""
        if node_error and node_error != self._node_error:
            _log.warning("the node's annotations cannot be read, only a signal can release the driver: %s", node_error)
        self._node_error = node_error

    def _look(self) -> Snapshot:
        spool = self._spool.state()
        spells = self._totals.spells()
        return replace(
            self._last_look,
            devices=self._totals.devices(),
            pods=self._totals.pods(),
            spells=spells,
            pod_infos=tuple(pod_infos(spells, self._sources.pod_of)),
            samples=self._samples,
            rejected=dict(self._rejected),
            sources=tuple(self._source_states()),
            calls=self._totals.calls(),
            spool=spool,
            stream=self._sources.stream.state if self._sources.stream else None,
            conservation_error_us=self._totals.conservation_error_us,
            series_refused=self._totals.series_refused,
            released=self._is_free,
            not_ready=(*self._not_ready(), *([f"spool: {spool.error}"] if spool.error else [])),
        )

    def _not_ready(self) -> tuple[str, ...]:
        return tuple(reason for reason in self._reasons() if reason)

    def _reasons(self) -> Iterable[str]:
        yield self._nvml_problem
        yield self._sources.probe.problem
        yield self._meter.problem
        yield self._standing_problem
        if self._sources.poller:
            yield self._sources.poller.problem
        if self._sources.api:
            yield self._sources.api().error

    def _source_states(self) -> Iterable[SourceState]:
        yield SourceState("nvml", not self._nvml_problem and not self._sources.probe.problem, self._took_us)
        if self._sources.poller:
            state = self._sources.poller.state
            yield SourceState(self._sources.poller.source, state.up, state.duration_us)
        if self._sources.api:
            yield SourceState("api", self._sources.api().synced and not self._sources.api().error)
        if self._sources.node:
            yield SourceState("node", self._sources.node().synced and not self._sources.node().error)
