"""When a tick is a glance, and what it asks for."""

from dataclasses import replace

import pytest
from tests.agent.sampled_node import PROCESS, T0, Node, S

from gputally.agent.probe.glance import Answer, Glance
from gputally.agent.probe.sampler import (
    Cadence,
    DeviceSilent,
    DeviceUnavailable,
    DriverError,
    DriverEvents,
    Sampler,
)
from gputally.agent.sample import (
    ProcessReading,
)


@pytest.fixture
def node() -> Node:
    return Node()


ANSWER: Answer = (0, 1, b"", 5, 1, 2, 3, 4)


@pytest.fixture
def plain(node: Node) -> Node:
    """Its devices were read once, and may be glanced at since."""
    node.driver.answer = ANSWER
    node.tick()
    return node


def glances(node: Node, count: int, *, full: bool = False, after_us: int = S) -> list[Glance | None]:
    found = []
    for _ in range(count):
        found.append(node.sampler.glance(full=full))
        node.monotonic.now_us += after_us
        node.wall.now_us += after_us
    return found


def test_the_first_tick_is_no_glance(node: Node) -> None:
    node.driver.answer = ANSWER
    assert node.sampler.glance() is None


def test_a_glance_carries_both_clocks_and_the_answers_of_all_devices(plain: Node) -> None:
    assert glances(plain, 1) == [Glance(S, T0 + S, 0, (ANSWER, ANSWER))]


def test_a_glance_asks_for_processes_when_they_are_due_and_tells_only_of_those_that_changed(plain: Node) -> None:
    asked = plain.driver.count("read_processes")
    found = glances(plain, 9)
    assert [glance is not None and glance.details is not None for glance in found] == [False] * 4 + [True] + [False] * 4
    assert plain.driver.count("read_processes") == asked + 2
    assert found[4] is not None
    assert found[4].details == ((ProcessReading(None, ()), True), (ProcessReading(None, ()), True))
    plain.processes.alive[7] = replace(PROCESS, start_ticks=124)
    (later,) = glances(plain, 1, full=True)
    assert later is not None
    assert later.details is not None
    (reading, is_same), unchanged = later.details
    assert (reading and [each.process for each in reading.processes or ()], is_same) == (
        [plain.processes.alive[7]],
        False,
    )
    assert unchanged[1]


@pytest.mark.parametrize("error", [DeviceUnavailable("lost"), DeviceSilent("busy")])
def test_after_a_device_failed_to_tell_of_processes_a_sample_is_taken(plain: Node, error: DriverError) -> None:
    plain.driver.broken["read_processes", "GPU-b"] = error
    (found,) = glances(plain, 1, full=True)
    assert found is not None
    assert found.details is not None
    assert found.details[1] == (None, False)
    assert plain.sampler.glance() is None
    assert plain.enumerates()


@pytest.mark.parametrize("told", [DriverEvents(changed=True), DriverEvents({"GPU-b": (31,)})])
def test_what_the_driver_tells_of_its_own_accord_is_part_of_a_sample(plain: Node, told: DriverEvents) -> None:
    plain.driver.told = told
    before = plain.driver.count("devices")
    assert plain.sampler.glance() is None
    assert plain.tick().devices[1].xids == told.xids.get("GPU-b", ())
    assert plain.driver.count("devices") - before == told.changed


def test_devices_are_enumerated_as_often_as_without_glances(plain: Node) -> None:
    assert [glance is None for glance in glances(plain, 61)] == [False] * 59 + [True] * 2


def test_glances_that_follow_faster_than_a_driver_measures_do_not_all_ask_for_activity(plain: Node) -> None:
    plain.sampler = Sampler(plain.driver, plain.processes, Cadence(S // 10), plain.monotonic, plain.wall)
    plain.tick(after_us=S // 10)
    glances(plain, 9, after_us=S // 10)
    assert (plain.driver.count("glance"), plain.driver.count("glance lightly")) == (2, 2 * 8)
