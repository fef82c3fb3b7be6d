"""The faults of the soak: each breaks one part for a while and mends it, and says what it may cost."""

import random
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
from tests.chaos.parts import Collector, Node
from tests.databases import PostgresServer

LOST_WITH_THE_AGENT_S = 20.0  # what is not yet a window when it is killed: it waits for what late samples may explain
LOST_WITH_THE_PROBE_S = 20.0
_MOST_SKEW_S = 1.5  # more than 2 s is flagged, which is another test's matter

Pause = Callable[[float], object]


@dataclass(slots=True)
class World:
    """Everything that can break, the seeded chance that breaks it, and what that may leave unobserved by node."""

    nodes: Sequence[Node]
    collectors: Sequence[Collector]
    postgres: PostgresServer
    folder: Path
    chance: random.Random
    pause: Pause
    copies: int = 0

    def node(self) -> Node:
        """One of the nodes."""
        return self.chance.choice(self.nodes)

    def lead_somewhere(self) -> None:
        """Every agent's line leads to one of the collectors."""
        for node in self.nodes:
            node.line.target = ("127.0.0.1", self.chance.choice(self.collectors).port)


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that a fault may leave unobserved on one node, seconds."""

    node: str = ""
    seconds: float = 0.0


def kill_agent(world: World) -> Cost:
    """SIGKILL: what was not yet in the spool is gone."""
    node = world.node()
    started = monotonic()
    node.end(signal.SIGKILL)
    world.pause(world.chance.uniform(0, 2))
    node.start()
    return Cost(node.name, monotonic() - started + LOST_WITH_THE_AGENT_S)


def restart_agent(world: World) -> Cost:
    """SIGTERM, as a rolling update does it: only the time between the two agents is nobody's."""
    node = world.node()
    started = monotonic()
    node.end(signal.SIGTERM)
    node.start()
    return Cost(node.name, monotonic() - started + LOST_WITH_THE_AGENT_S)


def kill_probe(world: World) -> Cost:
    """The child that owns the driver dies."""
    node = world.node()
    probe = node.probe()
    if probe is not None:
        with suppress(psutil.NoSuchProcess):
            probe.kill()
    return Cost(node.name, LOST_WITH_THE_PROBE_S)


def kill_collector(world: World) -> Cost:
    """A replica dies, between commit and acknowledgement for all it knows."""
    return _end_collector(world, signal.SIGKILL)


def restart_collector(world: World) -> Cost:
    """A replica is asked to stop, and starts again."""
    return _end_collector(world, signal.SIGTERM)


def _end_collector(world: World, number: int) -> Cost:
    collector = world.chance.choice(world.collectors)
    collector.end(number)
    world.pause(world.chance.uniform(0, 2))
    collector.start()
    world.lead_somewhere()
    return Cost()


def kill_database(world: World) -> Cost:
    """The server dies with everything under way, and recovers from its log."""
    world.postgres.kill()
    world.pause(world.chance.uniform(0, 3))
    world.postgres.start_again()
    return Cost()


def cut_line(world: World) -> Cost:
    """The connection is cut, and leads elsewhere from then on."""
    world.lead_somewhere()
    world.node().line.cut()
    return Cost()


def hold_line(world: World) -> Cost:
    """Nothing comes through, and nobody is told."""
    line = world.node().line
    line.hold()
    world.pause(world.chance.uniform(1, 4))
    line.go_on()
    return Cost()


def fill_disk(world: World) -> Cost:
    """The spool's disk is full for a while; where there is no small disk, this does nothing."""
    node = world.node()
    if node.has_disk:
        node.fill_disk()
        world.pause(world.chance.uniform(2, 5))
        node.free_disk()
    return Cost()


def step_clock(world: World) -> Cost:
    """Somebody sets the node's clock, forward or back."""
    node = world.node()
    was = node.offset_s
    node.set_clock(world.chance.uniform(-_MOST_SKEW_S, _MOST_SKEW_S))
    return Cost(node.name, abs(node.offset_s - was) + LOST_WITH_THE_PROBE_S)


def send_twice(world: World) -> Cost:
    """A copy of the spool is sent by somebody else at the same time."""
    node = world.node()
    world.copies += 1
    copy = node.copy_spool(world.folder / f"copy-{world.copies}")
    node.send(copy, world.folder / f"copy-{world.copies}.log")
    return Cost()


Fault = Callable[[World], Cost]

ROLLING: tuple[Fault, ...] = (restart_agent, restart_collector)
FAULTS: tuple[Fault, ...] = (
    kill_agent,
    restart_agent,
    kill_probe,
    kill_collector,
    restart_collector,
    kill_database,
    cut_line,
    hold_line,
    fill_disk,
    step_clock,
    send_twice,
)
