"""The agent as a process: real pynvml on the test library, and everything that can be wrong on a node."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agents import (
    ELSEWHERE,
    NAMED,
    A,
    B,
    Node,
    S,
    check,
    devices_of,
    get,
    is_alive,
    now_us,
    port_of,
    probe_of,
    refused,
    sum_of,
    troubles,
    two_gpus,
    wait_ready,
    wait_trouble,
)
from tests.collector_fake import FakeCollector
from tests.nvml.library import (
    Fault,
    Hang,
)
from tests.programs import module, running, wait_until

from gputally.accounting.line import Window
from gputally.accounting.states import Reason
from gputally.agent.spool.spool import Spool
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

pytest_plugins = ["tests.nvml.fixtures"]

NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH = 4, 9, 15, 18
TIMEOUT = 10
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) \S")


@pytest.fixture
def node(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Node:
    return two_gpus(tmp_path, built(()))


# What can be wrong with the driver.


def test_every_trouble_with_the_driver_is_one_line_and_ends_when_it_does(node: Node) -> None:
    """No library, no driver, no permission, no GPU: the agent stays up, says what to do, and looks again."""
    installed, node.library_dir = node.library_dir / "libnvidia-ml.so.1", node.folder
    with node.agent() as agent:
        port = port_of(agent)
        wait_trouble(agent, port, "libnvidia-ml.so.1 not found: install the NVIDIA driver")
        node.play(Fault(DRIVER_NOT_LOADED, "nvmlInit"))
        (node.folder / installed.name).symlink_to(installed)
        wait_trouble(agent, port, "the NVIDIA kernel driver is not loaded: run `modprobe nvidia`")
        node.play(Fault(TIMEOUT, "nvmlInit"))
        wait_trouble(agent, port, "NVML does not answer")
        node.play(Fault(NO_PERMISSION, "nvmlInit"))
        wait_trouble(agent, port, "no permission to use NVML: run as root, or allow access to /dev/nvidia*")
        node.play(Fault(NO_PERMISSION, "nvmlDeviceGetHandleByIndex_v2"))
        wait_trouble(agent, port, "no permission to open any GPU")
        node.play(gpus=())
        wait_trouble(agent, port, "NVML answers but has no GPU")
        assert 'gputally_source_up{source="nvml"} 0.0' in get(port, "/metrics")[1]
        assert node.payloads() == {}
        node.play()
        wait_ready(agent)
        node.wait_covered(now_us())
        assert agent.stop() == 0, agent.log
    said = [line for line in agent.log.splitlines() if ELSEWHERE not in line or not ELSEWHERE]
    assert all(LOG_LINE.match(line) for line in said), agent.log
    assert sum("WARNING not ready: " in line for line in said) == 6


@pytest.mark.root
def test_outside_the_hosts_pid_namespace_it_counts_but_says_that_processes_are_hidden(node: Node) -> None:
    enter = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs to make a pid namespace: run the tests as root, with unshare (apt-get install util-linux)")
    with running([*enter, *node.command()], node.folder / "agent.log", node.env) as agent:
        port = port_of(agent)
        wait_until(lambda: node.windows(), 60, "windows")
        status, body = get(port, "/readyz")
        assert (status, body.count("\n")) == (503, 1)
        assert body.startswith("not in the host's pid namespace: ")
        assert "hostPID: true" in body
        assert agent.log.count(body) == 1


def test_a_driver_that_hangs_costs_its_own_time_and_nothing_else(node: Node) -> None:
    """The agent goes on serving; a new probe goes on, and what the driver's buffer no longer has is unobserved."""
    node.scenario = replace(node.scenario, period_us=50_000)  # the buffer holds 72 of these
    node.play()
    with node.agent() as agent:
        port = wait_ready(agent)
        node.wait_covered(now_us())
        hung_us = now_us()
        node.play(hangs=(Hang(),))
        wait_trouble(agent, port, "the driver did not answer in time; a new probe is started")
        assert 'gputally_source_up{source="nvml"} 0.0' in get(port, "/metrics")[1]
        node.play()
        wait_ready(agent)
        seen_us = now_us()
        windows = node.wait_covered(seen_us)
        assert agent.stop() == 0, agent.log
    for uuid in (A, B):
        unseen_us = sum_of(windows, uuid, "unobserved", Reason.NO_SAMPLE)
        unexplained_us = sum_of(windows, uuid, "unobserved", Reason.UNATTRIBUTED)
        assert 5 * S < unseen_us <= seen_us - hung_us + S
        assert unseen_us + unexplained_us == sum_of(windows, uuid, "unobserved")
    # The buffer still has what was busy before the new probe, but nobody was asked then whose work it was.
    unexplained_us = sum_of(windows, A, "unobserved", Reason.UNATTRIBUTED)
    used_us, idle_us = (sum_of(windows, A, state) for state in ("used", "unallocated"))
    measured_us = used_us + unexplained_us + idle_us
    assert used_us + unexplained_us == pytest.approx(measured_us * 40 // 100, abs=S // 20)
    assert unexplained_us <= 72 * 50_000 * 40 // 100


def test_a_replaced_driver_gets_a_new_probe(node: Node) -> None:
    """A process with the old library can never use the new driver: the child ends, its successor goes on."""
    with node.agent() as agent:
        port = wait_ready(agent)
        first = probe_of(agent)
        node.play(Fault(LIB_RM_VERSION_MISMATCH))
        wait_until(lambda: troubles(port), 60, "it to be noticed")
        node.play()
        wait_ready(agent)
        assert probe_of(agent) != first
        windows = node.wait_covered(now_us() + S)
        assert agent.stop() == 0, agent.log
    assert sum_of(windows, A, "unavailable") == 0


def test_a_lost_gpu_is_unavailable_until_it_is_back_and_the_other_one_goes_on(node: Node) -> None:
    available = f'gputally_device_available{{model="NVIDIA H100 80GB HBM3",node="n",uuid="{B}"}} '
    with node.agent() as agent:
        port = wait_ready(agent)
        lost_us = now_us()
        node.play(Fault(GPU_IS_LOST, gpu=1))
        wait_until(lambda: f"{available}0.0" in get(port, "/metrics")[1], 60, "it to be lost")
        known_us = now_us()
        wait_until(lambda: now_us() > known_us + S, 3, "a second")
        mended_us = now_us()
        node.play()
        wait_until(lambda: f"{available}1.0" in get(port, "/metrics")[1], 60, "it to be back")
        windows = node.wait_covered(now_us())
        back_us = windows[-1].end_us
        assert not troubles(port)
        assert agent.stop() == 0, agent.log
    assert mended_us - known_us <= sum_of(windows, B, "unavailable") <= back_us - lost_us
    assert sum_of(windows, A, "unavailable") == 0
    assert sum_of(windows, A, "unobserved") == sum_of(windows, B, "unobserved") == 0


# What can be wrong with where it is put.


def test_every_bad_setting_is_named_at_once(tmp_path: Path) -> None:
    """Flags and environment alike; nothing is started."""
    env = {**os.environ, "GPUTALLY_WINDOW": "7s", "GPUTALLY_NODE": ""}
    command = module("gputally.agent.main", "--colector", "c:1", "--cluster", "c", "--sample-interval", "1")
    lines = refused(*command, "--spool-dir", str(tmp_path / "spool"), env=env)
    for word in ("--colector", "--collector", "GPUTALLY_WINDOW", "--node", "--sample-interval"):
        assert any(word in line for line in lines), lines
    assert not (tmp_path / "spool").exists()


def test_every_mistake_of_a_scenario_is_named_at_once(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"gpus": "many", "colour": "green"}))
    given = ("--nvml", "simulated", "--scenario", str(scenario), "--spool-dir", str(tmp_path / "spool"))
    lines = refused(*module("gputally.agent.main", *NAMED, *given))
    assert len(lines) >= 2
    assert all(line.startswith("gputally-agent: --scenario: ") for line in lines)
    assert any("colour" in line for line in lines)


def test_a_port_that_is_taken_is_a_bad_setting(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, FakeCollectorRunning() as collector:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = ("--http-listen", address, "--collector", collector.address)
        lines = refused(*node.command(*settings), env=node.env)
    assert len(lines) == 1
    assert address in lines[0]
    assert "--http-listen" in lines[0]


def test_a_spool_that_cannot_be_made_is_a_bad_setting(node: Node) -> None:
    (node.folder / "spool").write_text("in the way")
    (line,) = refused(*node.command(), env=node.env)
    assert "--spool-dir" in line


def test_two_agents_on_one_spool_take_turns(node: Node) -> None:
    """The second waits, alive but not ready, and says for whom; when the first ends it takes over, numbers and all."""
    with node.agent() as first, ExitStack() as later:
        wait_ready(first)
        second = later.enter_context(node.agent(log="second.log"))
        said = f"belongs to process {first.process.pid}"
        wait_until(lambda: said in second.log, 60, f"the second to wait\n{second.log}")
        assert "waiting for it to end" in second.log
        port = port_of(second)
        assert get(port, "/healthz") == (200, "alive\n")
        status, body = get(port, "/readyz")
        assert (status, said in body, body.count("\n")) == (503, True, 1)
        assert "gputally_ready 0.0" in get(port, "/metrics")[1]
        node.wait_covered(now_us())
        assert first.stop() == 0, first.log
        before = node.payloads()
        assert wait_ready(second) == port
        wait_until(lambda: len(node.payloads()) > len(before), 60, "windows of the second")
        assert second.log.count(said) == 1
        assert second.stop() == 0, second.log
    assert before.items() <= node.payloads().items()
    check(node.windows())


def test_an_agent_that_waits_for_its_spool_ends_when_told_to(node: Node) -> None:
    with node.agent() as first, node.agent(log="second.log") as second:
        wait_until(lambda: "waiting" in first.log + second.log, 60, "one to wait")
        waiting = second if "waiting" in second.log else first
        assert waiting.stop() == 0


# How it ends.


class FakeCollectorRunning(FakeCollector):
    """A collector for as long as the test needs it."""

    def __enter__(self) -> "FakeCollectorRunning":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def test_sigterm_keeps_the_time_up_to_the_last_sample(node: Node) -> None:
    """A window is cut where the agent ends; without a collector it waits in the spool, and nothing of it is a guess."""
    with node.agent(window="60s") as agent:
        wait_ready(agent)
        ready_us = now_us()
        wait_until(lambda: now_us() > ready_us + S, 3, "a second")
        told_us = now_us()
        assert agent.stop() == 0, agent.log
        ended_us = now_us()
    windows = node.windows()
    check(windows)
    assert told_us <= windows[-1].end_us <= ended_us
    for uuid in (A, B):
        assert sum_of(windows, uuid, "unobserved") == 0
    length_us = sum(window.end_us - window.start_us for window in windows)
    assert S < sum(device.capacity_us for device in devices_of(windows, A)) == length_us
    assert sum_of(windows, A, "used") == pytest.approx(length_us * 40 // 100, abs=S // 20)


def test_sigterm_without_a_driver_waits_for_nothing(node: Node) -> None:
    node.play(Fault(DRIVER_NOT_LOADED, "nvmlInit"))
    for _ in range(5):  # the first that is in time will do: this machine may have other things to do
        with node.agent() as agent:
            wait_trouble(agent, port_of(agent), "kernel driver is not loaded")
            told_us = now_us()
            assert agent.stop() == 0, agent.log
            took_us = now_us() - told_us
        if took_us < 2 * S:  # a last sample would be waited for for longer
            break
        (node.folder / "agent.log").unlink()
    assert took_us < 2 * S


def test_an_agent_whose_clock_was_set_back_over_a_restart_counts_no_time_twice(node: Node) -> None:
    """The agent before sent windows up to there, and the collector has them: this one waits, and says how long."""
    for ahead_us in (6 * S, 40 * S):  # on a machine so busy that the agent began after that, once more
        began_us = now_us()
        sent_us = began_us + ahead_us
        shutil.rmtree(node.folder / "spool", ignore_errors=True)
        spool = Spool(node.folder / "spool", "boot", 1 << 20, 7 * 86_400 * S, now_us)
        (sequence,) = spool.append([Window("c", "n", sent_us - S, sent_us, ())])
        spool.release(sequence)
        spool.close()
        with node.agent() as agent:
            wait_ready(agent)
            windows = node.wait_covered(sent_us + 2 * S)
            assert agent.stop() == 0, agent.log
        if windows[0].waited_us:
            break
    assert sent_us < windows[0].start_us < sent_us + S
    assert 0 < windows[0].waited_us < windows[0].start_us - began_us
    assert {window.waited_us for window in windows[1:]} == {0}


def test_a_killed_agent_loses_no_window_and_the_next_one_goes_on(node: Node) -> None:
    """kill -9: the spool has every finished window, the child ends by itself, the collector gets each window once."""
    with node.agent() as agent:
        wait_ready(agent)
        wait_until(lambda: len(node.payloads()) >= 2, 60, "windows")
        child = probe_of(agent)
        agent.stop(signal.SIGKILL)
        wait_until(lambda: not is_alive(child), 60, "the child to end")
    kept = node.payloads()
    with FakeCollectorRunning() as collector, node.agent("--collector", collector.address) as agent:
        collector.wait_for(lambda: len(collector.ledger.windows) >= len(kept) + 2)
        assert agent.stop() == 0, agent.log
        assert node.payloads() == {}
        got = dict(sorted((sequence, payload) for (_, sequence), payload in collector.ledger.windows.items()))
    assert [*got] == [*range(1, len(got) + 1)]
    assert (collector.ledger.contradictions, collector.ledger.refused) == (0, 0)
    windows = [codec.decode(pb.Window.FromString(payload)) for payload in got.values()]
    assert windows[: len(kept)] == [codec.decode(pb.Window.FromString(payload)) for payload in kept.values()]
    check(windows)


GRPC = ("event_engine", "lifeguard", "grpc_global_tim")  # as it calls its threads


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="no such setting on this system")
def test_threads_of_grpc_may_wake_late_and_so_together_and_ours_wake_in_time(node: Node) -> None:
    """A stream that says nothing costs half as much, and no sample is late for it."""
    with FakeCollectorRunning() as collector, node.agent("--collector", collector.address) as agent:
        collector.wait_for(lambda: bool(collector.ledger.windows))
        wait_until(lambda: slacks_of_grpc(agent.process.pid) == {300_000_000}, 60, "its threads")
        assert slack_ns(agent.process.pid) == slack_ns(probe_of(agent).pid) < 1_000_000


def slacks_of_grpc(pid: int) -> set[int]:
    """How late its threads may wake; one that ends while they are looked at is left out."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            if (task / "comm").read_text().strip() in GRPC:
                found.add(slack_ns(int(task.name)))
    return found


def slack_ns(thread: int) -> int:
    """How late a thread may wake."""
    return int(Path(f"/proc/{thread}/timerslack_ns").read_text())
