"""The loop: what the sources bring becomes windows in the spool and a snapshot that says how things stand."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent_node import DEADLINE_S, MINUTE, Node, process_of
from tests.fake_probe import T0, UUID, S

from gputally.accounting.line import Window
from gputally.accounting.states import Reason, State
from gputally.agent.agent import ApiState
from gputally.agent.reservations import grants
from gputally.agent.sample import (
    GpuProcess,
    Process,
    ProcessKind,
)
from gputally.agent.snapshot import SourceState
from gputally.agent.spell_file import SpellFile


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    with closing(node.spool):
        yield node


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Node]:
    """A node without Kubernetes and without a collector."""
    node = Node(tmp_path, kubernetes=False)
    with closing(node.spool):
        yield node


# Readiness.


def test_it_is_not_ready_before_the_first_sample(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Which is so at every start: the log has no warning of it, only the end."""
    caplog.set_level(logging.INFO)
    assert node.not_ready == ("no sample was taken yet",)
    node.probe.silent = True
    node.run(1)
    assert node.not_ready == ("no sample was taken yet",)
    node.probe.silent = False
    node.run(1)
    assert node.not_ready == ()
    assert [record.message for record in caplog.records] == ["ready"]


def test_a_failure_is_the_reason_until_the_next_sample_and_is_logged_once(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """/readyz repeats it as long as it lasts, the log does not; a second failure after that is said again."""
    caplog.set_level(logging.INFO)
    for _ in range(2):
        node.probe.trouble = "no driver: load it"
        node.run(3)
        assert node.not_ready == ("no driver: load it",)
        node.probe.trouble = ""
        node.run(2)
        assert node.not_ready == ()
    assert [record.message for record in caplog.records] == 2 * ["not ready: no driver: load it", "ready"]


def test_silence_after_a_failure_mends_nothing(node: Node) -> None:
    node.probe.trouble = "it hangs"
    node.run(1)
    node.probe.silent = True
    node.run(5)
    assert node.not_ready == ("it hangs",)


def test_a_sample_without_devices_is_a_reason(node: Node) -> None:
    node.probe.devices = False
    node.run(1)
    assert node.not_ready == ("NVML shows no GPU on this node",)
    assert node.windows() == []


def test_what_cannot_change_while_it_runs_stays_a_reason(tmp_path: Path) -> None:
    node = Node(tmp_path, standing_problem="not in the host's pid namespace")
    with closing(node.spool):
        node.run(2)
        assert node.not_ready == ("not in the host's pid namespace",)


def test_a_kubelet_that_is_away_is_a_reason_and_its_last_word_still_counts(node: Node) -> None:
    node.run(10)
    node.kubelet.away = "the kubelet does not listen"
    node.ask_kubelet()
    node.run(60)
    assert node.not_ready == ("the kubelet does not listen",)
    assert SourceState("kubelet", False, 0) in node.agent.snapshot.sources
    node.kubelet.away = ""
    node.ask_kubelet()
    node.run(1)
    assert node.not_ready == ()
    node.agent.finish()
    assert node.sum_of("used") == node.sum_of("idle") > 0
    assert node.sum_of("unallocated") == node.sum_of("unobserved") == 0


def test_an_api_in_trouble_is_a_reason_and_time_is_counted_all_the_same(node: Node) -> None:
    node.api = ApiState(False, "the API refuses the token")
    node.run(61)
    assert node.not_ready == ("the API refuses the token",)
    assert SourceState("api", False) in node.agent.snapshot.sources
    assert node.sum_of("used") > 0


def test_every_reason_is_a_line_of_its_own(node: Node) -> None:
    node.probe.trouble = "no driver"
    node.kubelet.away = "no kubelet"
    node.ask_kubelet()
    node.api = ApiState(True, "no API")
    node.run(1)
    assert node.not_ready == ("no driver", "no kubelet", "no API")


def test_a_disk_that_refuses_windows_is_a_reason_until_it_takes_them(node: Node) -> None:
    """What could not be written waits in memory; the agent goes on."""
    with closing(sqlite3.connect(node.folder / "spool" / "spool.sqlite", isolation_level=None)) as other:
        other.execute("ALTER TABLE window RENAME TO away")
        node.run(70)
        (reason,) = node.not_ready
        assert reason.startswith("spool: ")
        assert node.agent.snapshot.spool.held == 1
        other.execute("ALTER TABLE away RENAME TO window")
    node.run(60)
    assert node.not_ready == ()
    assert len(node.windows()) == 2


def test_what_is_switched_off_is_no_reason_and_no_source(bare: Node) -> None:
    bare.run(1)
    assert bare.not_ready == ()
    assert bare.agent.snapshot.sources == (SourceState("nvml", True),)
    assert bare.agent.snapshot.stream is None


def test_gpus_that_cannot_be_sampled_are_a_reason_though_others_are(node: Node) -> None:
    node.probe.problem = "GPU 1 is left out"
    node.run(1)
    assert node.not_ready == ("GPU 1 is left out",)
    assert SourceState("nvml", False) in node.agent.snapshot.sources
    node.probe.problem = ""
    node.probe.hidden = "1 GPUs may not be opened"
    node.run(1)
    assert node.not_ready == ("1 GPUs may not be opened",)
    node.probe.hidden = ""
    node.run(1)
    assert node.not_ready == ()


# Windows.


def test_windows_are_kept_as_they_end_and_follow_each_other(node: Node) -> None:
    node.run(190)
    windows = node.windows()
    assert [window.start_us for window in windows] == [T0 + S, T0 + MINUTE, T0 + 2 * MINUTE]
    assert [window.end_us for window in windows] == [T0 + MINUTE, T0 + 2 * MINUTE, T0 + 3 * MINUTE]
    assert node.sum_of("used") == node.sum_of("idle") == (3 * MINUTE - S) // 2


def test_silence_closes_windows_too_and_its_time_is_unobserved(node: Node) -> None:
    """Nobody looked: that is neither idle nor used; and the holder held it."""
    node.run(60)
    node.probe.silent = True
    node.run(120)
    assert node.windows()[-1].end_us == T0 + 2 * MINUTE
    assert node.sum_of("unobserved", Reason.NO_SAMPLE) >= MINUTE - 2 * S
    assert {line.key.owner.pod for line in node.lines()} == {"train"}


def test_the_end_cuts_the_window_at_the_last_sample(node: Node) -> None:
    node.run(30)
    node.agent.finish()
    (window,) = node.windows()
    assert (window.start_us, window.end_us) == (T0 + S, T0 + 30 * S + S // 10)
    assert node.sum_of("unobserved") == 0
    assert node.sum_of("used") + node.sum_of("idle") == 29 * S + S // 10


def test_the_end_counts_what_the_kubelet_said_last(node: Node) -> None:
    node.run(30)
    node.kubelet.containers.clear()
    node.ask_kubelet()
    node.agent.finish()
    assert node.sum_of("unallocated") + node.sum_of("unobserved", Reason.UNATTRIBUTED) == S // 10
    assert node.sum_of("used") + node.sum_of("idle") == 29 * S


def test_the_end_without_a_last_sample_books_the_time_since_as_unobserved(node: Node) -> None:
    node.run(30)
    node.probe.silent = True
    node.agent.finish()
    (window,) = node.windows()
    assert window.end_us == T0 + node.clock.now_us == T0 + 33 * S
    assert node.sum_of("unobserved", Reason.NO_SAMPLE) == 3 * S


def test_an_agent_that_never_saw_a_device_ends_without_a_window(node: Node) -> None:
    node.probe.trouble = "no driver"
    node.run(100)
    node.agent.finish()
    assert node.windows() == []


def test_it_runs_until_it_is_told_to_stop_and_then_keeps_the_last_window(node: Node) -> None:
    stop = threading.Event()
    node.probe.on_receive = lambda: stop.set() if node.clock.now_us >= 20 * S else None
    node.agent.run(stop, S)
    (window,) = node.windows()
    assert window.end_us == T0 + 20 * S + S // 10


# Who asks whom.


def test_the_kubelet_is_asked_at_once_when_an_unknown_pod_appears_on_a_gpu(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each appearance: a pod that is still there is no news, one that comes back is."""
    monkeypatch.setattr(grants, "_AGAIN_S", 3600.0)  # that it is asked again soon is another test's
    assert node.poller
    node.poller.start()
    with closing(node.poller):
        assert node.kubelet.asked.acquire(timeout=DEADLINE_S)  # the poll before the first sample
        for processes in ((process_of("uid-1", 7),), (process_of("uid-1", 7), process_of("uid-2", 8))):
            node.probe.processes = processes
            node.run(10)
            assert node.kubelet.asked.acquire(timeout=DEADLINE_S)
        node.run(20)
        node.probe.processes = ()
        node.run(10)
    assert not node.kubelet.asked.acquire(blocking=False)


def test_a_process_that_is_in_no_pod_is_no_reason_to_ask(node: Node) -> None:
    assert node.poller
    node.poller.start()
    with closing(node.poller):
        assert node.kubelet.asked.acquire(timeout=DEADLINE_S)
        node.probe.processes = (GpuProcess(9, ProcessKind.COMPUTE, process=Process(9, 1)), process_without_name())
        node.run(10)
    assert not node.kubelet.asked.acquire(blocking=False)


def process_without_name() -> GpuProcess:
    """One that /proc does not have."""
    return GpuProcess(10, ProcessKind.COMPUTE)


def test_each_probe_is_told_the_pods_of_the_node_once_and_again_when_they_change(node: Node) -> None:
    node.run(3)
    assert node.probe.known == [{"uid-1"}]
    node.uids = {"uid-1", "uid-2"}
    node.run(3)
    assert node.probe.known == [{"uid-1"}, {"uid-1", "uid-2"}]
    node.probe.starts = 2
    node.run(3)
    assert node.probe.known[2:] == [{"uid-1", "uid-2"}]


# The snapshot.


def test_the_snapshot_has_the_last_sample_and_the_sums_of_all_windows(node: Node) -> None:
    node.probe.rejected = {"power": 1}
    node.run(130)
    found = node.agent.snapshot
    (device,) = found.devices
    times = {State.USED: node.sum_of("used"), State.IDLE: node.sum_of("idle")}
    energy_mj = sum(line.energy_mj or 0 for line in node.lines())
    assert (device.uuid, device.model, device.energy_mj) == (UUID, "H100", energy_mj)
    assert device.time_us == {**dict.fromkeys(State, 0), **times}
    assert device.reading is not None
    reading = device.reading
    assert (reading.memory_used_bytes, reading.utilization_percent, reading.power_mw) == (7, 50, 300_000)
    assert (device.ghost_memory_bytes, device.intruder_memory_bytes) == (0, 0)
    (pod,) = found.pods
    assert (pod.namespace, pod.pod, pod.container, pod.uuid) == ("research", "train", "main", UUID)
    assert pod.time_us == {**times, State.UNOBSERVED: 0}
    assert (found.node, found.samples, found.rejected) == ("n", 130, {"power": 130})
    assert found.sources == (
        SourceState("nvml", True), SourceState("kubelet", True, 0), SourceState("api", True), SourceState("node", True)
    )  # fmt: skip
    assert found.spool.windows == len(node.windows()) == 2
    assert found.stream == node.stream.state
    assert (found.conservation_error_us, found.series_refused) == (0, 0)


def test_a_device_that_is_silent_now_keeps_its_sums_and_has_no_values(node: Node) -> None:
    """None is not 0: nobody knows what it draws."""
    node.run(70)
    node.probe.devices = False
    node.run(1)
    (device,) = node.agent.snapshot.devices
    assert device.time_us[State.USED] > 0
    assert (device.reading, device.vitals, device.available) == (None, None, None)


def test_a_driver_that_does_not_answer_leaves_no_value_of_now(node: Node) -> None:
    """A GPU that hung at 50 % would be shown at 50 % for hours."""
    node.run(70)
    assert node.agent.snapshot.devices[0].reading is not None
    assert node.agent.snapshot.pods[0].memory_bytes is not None
    node.probe.trouble = "the driver did not answer in time"
    node.run(1)
    (device,), (pod,) = node.agent.snapshot.devices, node.agent.snapshot.pods
    assert (device.reading, device.vitals, device.available, pod.memory_bytes) == (None, None, None, None)
    assert device.time_us[State.USED] > 0
    assert device.model


def test_whoever_asks_while_the_loop_is_stuck_gets_the_last_snapshot_and_hears_that_it_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs must not hang the probes of the kubelet and Prometheus's scrapes with it."""
    node.run(1)
    before = node.agent.snapshot
    stuck, free, append = threading.Event(), threading.Event(), node.spool.append

    def hang(windows: list[Window]) -> None:
        stuck.set()
        free.wait(DEADLINE_S)
        append(windows)

    monkeypatch.setattr(node.spool, "append", hang)
    loop = threading.Thread(target=node.run, args=(60,))
    loop.start()
    assert stuck.wait(DEADLINE_S)
    after = node.agent.snapshot
    assert "waits for its disk" in after.not_ready[-1], "else it would be ready for ever"
    assert replace(after, not_ready=()) == before
    free.set()
    loop.join(DEADLINE_S)
    assert node.agent.snapshot.samples > before.samples
    assert node.not_ready == ()


def test_a_snapshot_that_was_handed_out_never_changes(node: Node) -> None:
    node.run(70)
    before = node.agent.snapshot
    times = dict(before.devices[0].time_us)
    node.run(70)
    assert dict(before.devices[0].time_us) == times
    assert node.agent.snapshot.devices[0].time_us != times


def test_a_pod_that_computes_nothing_is_in_an_idle_spell_until_it_does(node: Node) -> None:
    """From the samples to the figure that the alert asks for, with what it holds meanwhile."""
    node.probe.percent = 0
    node.run(400)
    (spell,) = node.agent.snapshot.spells
    assert (spell.namespace, spell.pod, spell.container, spell.uuid, spell.partition) == (
        "research", "train", "main", UUID, "gpu"
    )  # fmt: skip
    assert spell.spell_us == spell.held_us == node.sum_of("idle") >= 300 * S
    assert node.agent.snapshot.pods[0].memory_bytes == 0
    node.probe.percent = 50
    node.run(140)
    assert node.agent.snapshot.spells[0].spell_us == 0


def test_a_spell_goes_on_in_the_agent_that_comes_after(node: Node) -> None:
    node.probe.percent = 0
    node.run(200)
    node.agent.finish()
    kept = SpellFile(node.folder).read().now()
    assert [spell.spell_us for spell in kept] == [node.sum_of("idle")]
