"""The hot paths of one process, CPU time of a tight loop: the meter, the codec, and how the collector reads a window.

Each stands beside what carries its data.
"""

import json
import pickle
from collections.abc import Callable
from functools import partial

from cpu import cost, in_turns
from table import Figure

from gputally.accounting.line import Window
from gputally.agent.attribution.identity import Identity
from gputally.agent.kube.pods import PodTable
from gputally.agent.meter import Meter, MeterSettings
from gputally.agent.probe.sampler import Cadence, Sampler
from gputally.agent.reservations.grants import GrantBook
from gputally.agent.reservations.holders import Grant, place
from gputally.agent.sample import Sample
from gputally.agent.simulated.cluster import SimulatedKubelet, SimulatedPods
from gputally.agent.simulated.gpus import SimulatedGpus, SimulatedProcesses
from gputally.agent.simulated.scenario import Scenario
from gputally.agent.simulated.scenario_file import parse
from gputally.collector.ingest import columns
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

START_US = 1_772_323_200_000_000  # a full minute in 2026
SECOND_US = 1_000_000
GPUS, PROCESSES, SECONDS, REPEATS = 8, 4, 605, 200
LONGER = 20  # so many times more of what is so fast that one look at the clock shows


def figures(*, quick: bool) -> list[Figure]:
    """What attribution adds to receiving a sample, and what encoding and reading add to protobuf."""
    world = scenario()
    taken, (pods, held) = samples(world), cluster(world)
    pickled = [pickle.dumps(sample, pickle.HIGHEST_PROTOCOL) for sample in taken]
    window = meter(taken, pods, held)[0]
    data = encode(window)
    message, layouts = pb.Window.FromString(data), columns.Layouts(1)
    lines, rounds = message.lines.count * REPEATS, 5 if quick else 9
    return [
        compare(
            "meter: a sample of 8 GPUs, 32 processes",
            "unpickling it",
            lambda: meter(taken, pods, held),
            lambda: [pickle.loads(one) for one in pickled],  # noqa: S301 - our own bytes
            len(taken),
            rounds,
        ),
        compare(
            "codec: encoding a line",
            "protobuf, message ready",
            lambda: [encode(window) for _ in range(REPEATS)],
            lambda: [message.SerializeToString() for _ in range(REPEATS * LONGER)],
            lines,
            rounds,
            LONGER,
        ),
        compare(
            "ingest: reading a line",
            "protobuf alone",
            lambda: [layouts.read(data) for _ in range(REPEATS)],
            lambda: [pb.Window.FromString(data) for _ in range(REPEATS * LONGER)],
            lines,
            rounds,
            LONGER,
        ),
    ]


def compare(
    name: str,
    ceiling: str,
    work: Callable[[], object],
    least: Callable[[], object],
    units: int,
    rounds: int,
    longer: int = 1,
) -> Figure:
    """Measure both in turns; one call does `units` units of work, `longer` times as many where it is the ceiling's."""
    ours, floor = in_turns(rounds, partial(cost, work), partial(cost, least))
    floor_us = floor.cpu / units / longer * 1e6
    return Figure(name, ours.cpu / units * 1e6, "CPU us", ceiling, floor_us, kept=True)


class Clock:
    """Wall and monotonic time that move when told."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


def scenario() -> Scenario:
    """Eight GPUs, each held by a pod that runs four processes on it."""
    gpus = [
        {
            "uuid": f"GPU-00000000-0000-4000-8000-{i:012x}",
            "model": "H100",
            "idle_watts": 70,
            "max_watts": 700,
            "memory_gib": 80,
        }
        for i in range(GPUS)
    ]
    pods = [
        {"namespace": f"team-{i % 3}", "name": f"job-{i}", "containers": [{"name": "main", "gpus": [i]}]}
        for i in range(GPUS)
    ]
    loads = [
        {
            "container": f"team-{i % 3}/job-{i}/main",
            "gpus": [i],
            "memory_gib": 8,
            "busy_percent": {"every": "1m", "steps": {"0s": 5 + i, "20s": 10 + i}},
        }
        for i in range(GPUS)
        for _ in range(PROCESSES)
    ]
    return parse(json.dumps({"gpus": gpus, "pods": pods, "workloads": loads}), START_US)


def samples(world: Scenario) -> list[Sample]:
    """Ten minutes of samples, one a second, as the probe makes them."""
    clock = Clock()
    driver = SimulatedGpus(world, clock)
    driver.open()
    sampler = Sampler(driver, SimulatedProcesses(world, clock), Cadence(), clock, clock)
    taken = []
    for second in range(SECONDS):
        clock.now_us = START_US + second * SECOND_US
        taken.append(sampler.sample())
    return taken


def meter(taken: list[Sample], pods: PodTable, held: tuple[Grant, ...]) -> list[Window]:
    """Attribute the samples to the pods, and close their windows."""
    node = Meter(MeterSettings("bench", "node"), Identity(pods, kubernetes=True).owners, kubernetes=True)
    node.on_reservations(taken[0].monotonic_us, partial(place, grants=held, allocatable=()))
    return [window for sample in taken for window in node.on_sample(sample)]


def cluster(world: Scenario) -> tuple[PodTable, tuple[Grant, ...]]:
    """The pods and what they hold, as the API and the kubelet tell it."""
    clock, pods = Clock(), PodTable()
    simulated = SimulatedPods(world, clock, clock)
    pods.replace(simulated.alive, clock())
    return pods, GrantBook(simulated.of_name, clock).read(SimulatedKubelet(world, clock, clock).poll()).grants


def encode(window: Window) -> bytes:
    """The window as the spool keeps it."""
    return codec.encode(window, "agent", "boot", 1)
