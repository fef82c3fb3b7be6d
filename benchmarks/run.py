"""What the hot paths cost, each beside its floor in the same run: `make bench`, or `python benchmarks/run.py --save`.

Only the ratios carry over to other machines; README.md beside this says what each one means. CPU time, median of
rounds in which subject and floor take turns, so that a machine that slows down slows both. `--only paths` leaves out
the month of a large fleet, which takes minutes; it is in month.py.
"""

import argparse
import json
import os
import pickle
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median

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
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

START_US = 1_772_323_200_000_000  # a full minute in 2026
SECOND_US = 1_000_000
GPUS, PROCESSES, SECONDS, ROUNDS, REPEATS = 8, 4, 605, 7, 200
RESULTS = Path(__file__).resolve().parent / "results"
PARTS = ("paths", "month")


@dataclass(frozen=True, slots=True)
class Figure:
    """A subject and its floor, CPU microseconds per unit of work."""

    subject: str
    floor: str
    subject_us: float
    floor_us: float

    @property
    def ratio(self) -> float:
        """How many times its floor the subject costs."""
        return self.subject_us / self.floor_us


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


def compare(subject: str, floor: str, work: Callable[[], object], least: Callable[[], object], units: int) -> Figure:
    """Measure both in turns; `units` is how many units of work one call does."""
    pairs = [(_cpu_us(work), _cpu_us(least)) for _ in range(ROUNDS)]
    return Figure(subject, floor, median(a for a, _ in pairs) / units, median(b for _, b in pairs) / units)


def _cpu_us(work: Callable[[], object]) -> float:
    start_ns = time.process_time_ns()
    work()
    return (time.process_time_ns() - start_ns) / 1000


def paths() -> str:
    """The page's part on the hot paths."""
    world = scenario()
    taken, (pods, held) = samples(world), cluster(world)
    pickled = [pickle.dumps(sample, pickle.HIGHEST_PROTOCOL) for sample in taken]
    window = meter(taken, pods, held)[0]
    data = encode(window)
    message = pb.Window.FromString(data)
    lines = message.lines.count * REPEATS
    figures = [
        compare(
            "meter, a sample of 8 GPUs with 4 processes each",
            "unpickling that sample",
            lambda: meter(taken, pods, held),
            lambda: [pickle.loads(one) for one in pickled],  # noqa: S301 - our own bytes
            len(taken),
        ),
        compare(
            "codec, encoding a line",
            "serialising the ready message",
            lambda: [encode(window) for _ in range(REPEATS)],
            lambda: [message.SerializeToString() for _ in range(REPEATS)],
            lines,
        ),
        compare(
            "codec, decoding a line",
            "parsing the message",
            lambda: [codec.decode(pb.Window.FromString(data)) for _ in range(REPEATS)],
            lambda: [pb.Window.FromString(data) for _ in range(REPEATS)],
            lines,
        ),
    ]
    rows = [
        f"{each.subject:<50} {each.subject_us:>9.2f} {each.floor:<32} {each.floor_us:>9.2f} {each.ratio:>7.1f}"
        for each in figures
    ]
    head = f"{'subject':<50} {'CPU us':>9} {'floor':<32} {'CPU us':>9} {'ratio':>7}"
    return "\n".join([head, *rows, "", f"on the wire: {len(data) / message.lines.count:.1f} bytes a line", ""])


def month(plans: Path | None) -> str:
    """The page's part on a month of a large fleet, or what is missing here for it."""
    import month as of_month  # here: it needs a database, and the tests folder on the path
    import pytest

    try:
        return of_month.measure(plans)
    except pytest.skip.Exception as missing:
        return f"{missing}\n"


def heading() -> str:
    """The machine and the date that the figures belong to, and how busy the machine was with other work."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("protobuf", "grpcio", "SQLAlchemy", "psycopg"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}\nPython {platform.python_version()}, {versions}\n"
        f"load average when it began: {os.getloadavg()[0]:.1f}\n"
    )


def machine() -> str:
    """The processor as the system names it, and how many there are."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "")
    return (
        f"{os.cpu_count()} x {model or platform.machine()}, {platform.system()} {platform.release().partition('-')[0]}"
    )


def main() -> None:
    """Measure, print, and keep the page where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", metavar="NAME", help="keep the page as results/DATE-NAME.txt, and its query plans")
    parser.add_argument("--only", choices=PARTS, help="measure this part only")
    given = parser.parse_args()
    name = f"{datetime.now(UTC):%Y-%m-%d}-{given.save}" if given.save else ""
    plans = RESULTS / "plans" / f"{name}.txt" if name else None
    found = [heading()]
    if given.only != "month":
        found.append(paths())
    if given.only != "paths":
        found.append(month(plans))
    text = "\n".join(found)
    print(text, end="")
    if name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text(text)


if __name__ == "__main__":
    main()
