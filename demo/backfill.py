"""Back-fill: a simulated node lives through past days in an instant, through the agent's own code.

The driver, the kubelet and the pods are the scenario's; sampler, meter, spool and stream are the real ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gputally.accounting.line import Window
from gputally.agent.attribution.identity import Identity
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.probe.sampler import Cadence, Sampler
from gputally.agent.reservations.grants import GrantBook, ReservationPoller
from gputally.agent.simulated.cluster import SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.gpus import SimulatedGpus, SimulatedProcesses
from gputally.agent.simulated.scenario import Scenario

MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US


@dataclass(slots=True)
class SteppedClock:
    """A clock that moves only when it is told to."""

    us: int

    def now(self) -> int:
        """The time, microseconds since the epoch; it serves as the monotonic clock too."""
        return self.us


def days(start_us: int, end_us: int) -> list[tuple[int, int]]:
    """[start, end) cut into days, the newest first."""
    edges = [*range(start_us, end_us, DAY_US), end_us]
    return [(edges[i], edges[i + 1]) for i in reversed(range(len(edges) - 1))]


def live_through(scenario: Scenario, cluster: str, node: str, start_us: int, end_us: int) -> Iterator[list[Window]]:
    """The windows of [start_us, end_us), sampled every 60 s; yields what each sample finished."""
    clock = SteppedClock(start_us)
    pods = SimulatedPods(scenario, clock.now, clock.now)
    book = GrantBook(pods.of_name, clock.now)
    poller = ReservationPoller(SimulatedKubelet(scenario, clock.now, clock.now), book, MINUTE_US, clock.now)
    driver = SimulatedGpus(scenario, clock.now, buffer_period_us=MINUTE_US)
    driver.open()
    cadence = Cadence(MINUTE_US, MINUTE_US, DAY_US)
    sampler = Sampler(driver, SimulatedProcesses(scenario, clock.now), cadence, clock.now, clock.now)
    settings = MeterSettings(cluster, node, MINUTE_US, MINUTE_US, MINUTE_US)
    meter = Meter(settings, Identity(pods, kubernetes=True).owners, kubernetes=True)
    while clock.us <= end_us:
        poller.poll()
        for at_us, placement in poller.take():
            meter.on_reservations(at_us, placement)
        yield meter.on_sample(sampler.sample())
        clock.us += MINUTE_US
    yield meter.cut(end_us)
