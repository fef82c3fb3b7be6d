"""The loop while somebody else needs the driver: what is not sampled is unobserved, and no capacity is lost."""

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from tests.agent_node import MINUTE, Node
from tests.fake_probe import T0, S

from gputally.accounting.states import Reason
from gputally.agent.agent import ApiState
from gputally.agent.snapshot import SourceState


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    with closing(node.spool):
        yield node


def test_a_release_lets_the_driver_go_after_a_last_sample_and_says_so(node: Node) -> None:
    """Everything up to then is measured; gauges of the driver are gone, as nobody knows them."""
    node.run(30)
    node.release.by_signal = True
    node.run(1)
    assert node.probe.is_released
    (reason,) = node.not_ready
    assert reason == "the driver is released and GPU time is unobserved: SIGUSR1 asked for it; send SIGUSR2"
    assert node.agent.snapshot.released
    assert SourceState("nvml", False) in node.agent.snapshot.sources
    assert node.agent.snapshot.devices == ()  # no window has ended yet


def test_hours_of_a_release_are_unobserved_and_no_capacity_is_lost(node: Node) -> None:
    """The holder held the GPU: its time passes, window by window, though nobody looks."""
    node.run(65)
    node.release.by_signal = True
    node.run(3 * 3600)
    assert node.agent.snapshot.devices[0].reading is None
    node.release.by_signal = False
    node.run(120)
    assert not node.probe.is_released
    assert node.not_ready == ()
    windows = node.windows()
    assert all(before.end_us == after.start_us for before, after in pairwise(windows))
    assert windows[-1].end_us >= T0 + 3 * 3600 * S + 2 * MINUTE
    assert sum(device.capacity_us for window in windows for device in window.devices) == windows[-1].end_us - T0 - S
    assert abs(node.sum_of("unobserved", Reason.NO_SAMPLE) - 3 * 3600 * S) <= 15 * S
    assert {line.key.owner.pod for line in node.lines()} == {"train"}


def test_samples_may_be_rare_and_a_release_is_noticed_within_a_second(node: Node) -> None:
    waits: list[int] = []
    node.probe.on_receive = lambda: waits.append(node.clock.now_us)
    node.agent.step(60 * S)
    assert waits == [S]


def test_a_probe_that_is_stuck_in_the_driver_is_said(node: Node) -> None:
    """Whoever waits for the driver must know that it is not free."""
    node.probe.stuck = True
    node.run(1)
    node.release.by_signal = True
    node.run(1)
    assert node.not_ready[0].startswith("a probe is stuck in the driver")
    assert not node.agent.snapshot.released


def test_a_driver_is_free_once_the_probe_that_was_stuck_in_it_has_ended(node: Node) -> None:
    node.probe.stuck = True
    node.run(1)
    node.release.by_signal = True
    node.run(5)
    node.probe.stuck = False
    node.run(1)
    assert node.agent.snapshot.released
    assert node.not_ready[0].startswith("the driver is released")
    node.release.by_signal = False
    node.run(1)
    assert not node.agent.snapshot.released


def test_annotations_that_cannot_be_read_are_said_once_and_are_no_reason_against_being_ready(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.node_api = ApiState(False, "the API answers 403")
    node.run(3)
    assert node.not_ready == ()
    assert SourceState("node", False) in node.agent.snapshot.sources
    assert sum("the API answers 403" in record.message for record in caplog.records) == 1


def test_the_end_during_a_release_keeps_the_time_up_to_now(node: Node) -> None:
    node.run(30)
    node.release.by_signal = True
    node.run(10)
    node.agent.finish()
    (window,) = node.windows()
    assert window.end_us == T0 + node.clock.now_us
    assert node.sum_of("unobserved", Reason.NO_SAMPLE) > 9 * S
