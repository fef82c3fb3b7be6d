"""The loop while samples wait in the probe's pipe: they are older than what is known when they are taken."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent_node import DEADLINE_S, Node
from tests.fake_probe import S
from tests.programs import wait_until

from gputally.agent.rest import Rest
from gputally.agent.sample import Sample


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    with closing(node.spool):
        yield node


@pytest.mark.parametrize("step_us", [0, 600 * S])
def test_a_reservation_that_ends_while_samples_wait_ends_at_its_own_time(node: Node, step_us: int) -> None:
    """Samples rest in the probe's pipe for seconds: whatever they bring, even another clock, is older than the news."""
    node.run(10)
    waiting = [sample for _ in range(3) if isinstance(sample := node.probe.receive(S), Sample)]
    node.kubelet.containers.clear()
    node.ask_kubelet()
    waiting += [sample for _ in range(2) if isinstance(sample := node.probe.receive(S), Sample)]
    for sample in waiting:
        node.agent.take(stepped(sample, step_us) if sample.monotonic_us >= 12 * S else sample)
    node.probe.trouble = "no more"
    node.agent.finish()
    charged = [line for line in node.lines() if line.key.owner.pod == "train"]
    booked = sum(line.used_us + line.idle_us for line in charged)
    assert booked == 12 * S - (S if step_us else 0)  # a step cuts: nothing is known of the second that has it


def stepped(sample: Sample, step_us: int) -> Sample:
    """As it were, had the wall clock been set forward before it."""
    (device,) = sample.devices
    reading = device.reading
    assert reading
    assert reading.busy
    busy = tuple(replace(entry, end_us=entry.end_us + step_us) for entry in reading.busy)
    devices = (replace(device, reading=replace(reading, busy=busy)),)
    return replace(sample, wall_us=sample.wall_us + step_us, devices=devices)


def test_a_probe_that_ends_is_not_found_dead_at_the_end_of_a_pause(tmp_path: Path) -> None:
    """Its successor is to begin at once: the driver keeps what it measured for ten seconds only."""
    rest, stop = Rest(), threading.Event()
    node = Node(tmp_path, rest=rest)
    node.probe.fileno, theirs = os.pipe()
    node.probe.rest_us = 3600 * S
    loop = threading.Thread(target=node.agent.run, args=(stop, S))
    with closing(node.spool):
        loop.start()
        wait_until(lambda: rest.is_resting or None, DEADLINE_S, "the pause")
        node.probe.rest_us, node.probe.on_receive = 0, stop.set
        os.close(theirs)
        loop.join(DEADLINE_S)
        has_noticed = stop.is_set()
        stop.set()
        rest.wake()
        loop.join()
    assert has_noticed
    os.close(node.probe.fileno)
