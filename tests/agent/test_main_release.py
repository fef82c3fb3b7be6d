"""The agent as a process, on a node where somebody else needs the driver, or one GPU is sick."""

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.agents import (
    A,
    B,
    Node,
    S,
    devices_of,
    get,
    is_alive,
    look,
    now_us,
    port_of,
    probe_of,
    sum_of,
    troubles,
    two_gpus,
    wait_ready,
    wait_trouble,
)
from tests.kube_api import FakeKubeApi
from tests.nvml.library import (
    Fault,
    Hang,
)
from tests.programs import Running, wait_until

from gputally.accounting.states import Reason
from gputally.agent import agent as agent_module
from gputally.agent.probe import supervisor

pytest_plugins = ["tests.nvml.fixtures"]

NO_PERMISSION, GPU_IS_LOST = 4, 15


@pytest.fixture
def node(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Node:
    return two_gpus(tmp_path, built(()))


def open_gpus(agent: Running) -> list[str]:
    """What of the driver this agent and its children have mapped or open."""
    found: list[str] = []
    for process in (psutil.Process(agent.process.pid), *psutil.Process(agent.process.pid).children()):
        with suppress(psutil.NoSuchProcess):  # it ended while we looked
            found += (mapped.path for mapped in process.memory_maps())
            found += (file.path for file in process.open_files())
    return [path for path in found if "nvidia" in path]


def test_no_release_takes_longer_than_five_seconds() -> None:
    """The longest that each of its steps is waited for, one after the other."""
    assert agent_module._RELEASE_FLUSH_US / S + supervisor._LAST_WAIT_S + supervisor._KILLED_WAIT_S < 5


def test_a_signal_releases_the_driver_within_five_seconds_and_another_takes_it_up_again(node: Node) -> None:
    """Nothing here has it open then; the time that its buffer no longer has is unobserved, and no capacity is lost."""
    node.scenario = replace(node.scenario, period_us=50_000)  # the buffer holds 72 of these
    node.play()
    with node.agent() as agent:
        port = wait_ready(agent)
        first = probe_of(agent)
        assert open_gpus(agent)
        asked_us = now_us()
        agent.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: not is_alive(first) and not open_gpus(agent), 60, "the driver to be free")
        assert now_us() - asked_us < 5 * S
        wait_trouble(agent, port, "the driver is released and GPU time is unobserved: SIGUSR1 asked for it")
        assert "gputally_driver_released 1.0" in get(port, "/metrics")[1]
        wait_until(lambda: now_us() > asked_us + 6 * S, 7, "some time without the driver")
        assert open_gpus(agent) == []
        agent.process.send_signal(signal.SIGUSR2)
        wait_ready(agent)
        back_us = now_us()
        windows = node.wait_covered(back_us)
        assert agent.stop() == 0, agent.log
    for uuid in (A, B):
        unseen_us = sum_of(windows, uuid, "unobserved", Reason.NO_SAMPLE)
        assert S < unseen_us <= back_us - asked_us + S
        length_us = windows[-1].end_us - windows[0].start_us
        assert sum(device.capacity_us for device in devices_of(windows, uuid)) == length_us


def test_an_annotation_of_the_node_releases_the_driver_and_an_agent_that_starts_leaves_it_alone(node: Node) -> None:
    """A driver upgrade that outlasts the agent is not disturbed by the next one, nor by a look."""
    with FakeKubeApi() as api:
        settings = ("--kube-api", api.url)
        api.put(annotated(None))
        with node.agent(*settings) as agent:
            port = wait_ready(agent)
            api.put(annotated("true"))
            wait_until(lambda: open_gpus(agent) == [], 60, "the driver to be free")
            wait_trouble(agent, port, 'the node is annotated gputally.io/release: "true"; remove that')
            assert agent.stop() == 0, agent.log
        done = look(node, "--pod-resources-socket", "off", *settings, "--format", "json")
        assert (done.returncode, json.loads(done.stdout)["devices"]) == (1, [])
        assert "gputally.io/release" in done.stderr
        with node.agent(*settings, log="second.log") as agent:
            port = port_of(agent)
            wait_trouble(agent, port, "gputally.io/release")
            assert open_gpus(agent) == []
            assert "the driver is taken up again" not in agent.log
            api.put(annotated("false"))
            wait_ready(agent)
            assert agent.stop() == 0, agent.log


def annotated(value: str | None) -> dict[str, object]:
    annotations = {} if value is None else {"gputally.io/release": value}
    return {"kind": "Node", "metadata": {"uid": "uid-n", "name": "n", "annotations": annotations}, "spec": {}}


def test_a_call_for_one_gpu_that_never_returns_costs_the_other_one_deadline(node: Node) -> None:
    """The next probe leaves that GPU out; another one asks it alone, and brings it back when it answers."""
    node.scenario = replace(node.scenario, period_us=250_000)  # the buffer holds 72 of these: more than the deadline
    node.play()
    with node.agent() as agent:
        port = wait_ready(agent)
        node.wait_covered(now_us())
        hung_us = now_us()
        node.play(hangs=(Hang(gpu=1),))
        line = f"GPU 1 ({B}): it did not answer in time, so it is left out; it is asked again alone"
        wait_trouble(agent, port, line)
        wait_until(lambda: f'gputally_device_utilization_ratio{{model="NVIDIA H100 80GB HBM3",node="n",uuid="{A}"}}'
                   in get(port, "/metrics")[1], 60, "the other GPU")  # fmt: skip
        seen_us = now_us()
        windows = node.wait_covered(seen_us + 2 * S)
        node.play()
        wait_until(lambda: not troubles(port), 60, f"the GPU to come back\n{agent.log}")
        windows = node.wait_covered(now_us())
        assert agent.stop() == 0, agent.log
    assert sum_of(windows, A, "unobserved", Reason.NO_SAMPLE) <= seen_us - hung_us
    assert sum_of(windows, B, "unobserved", Reason.NO_SAMPLE) > seen_us - hung_us
    assert sum_of(windows, A, "unavailable") == sum_of(windows, B, "unavailable") == 0


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (NO_PERMISSION, "1 GPUs may not be opened and are not counted: allow /dev/nvidia*"),
        (GPU_IS_LOST, "1 GPUs cannot be opened and are not counted: GPU is lost; look at dmesg"),
    ],
)
def test_gpus_that_cannot_be_opened_are_said_and_the_others_are_counted(node: Node, code: int, line: str) -> None:
    node.play(Fault(code, "nvmlDeviceGetHandleByIndex_v2", gpu=1))
    with node.agent() as agent:
        port = port_of(agent)
        wait_trouble(agent, port, line)
        windows = node.wait_covered(now_us())
        assert agent.stop() == 0, agent.log
    assert {device.uuid for window in windows for device in window.devices} == {A}
