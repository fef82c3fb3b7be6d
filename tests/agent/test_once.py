"""One look at a node: how it is taken, and what could not be seen."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.agent.test_once_json import DIVIDED, HELD_APART
from tests.looks import GOOD, OWNERS, look

from gputally.agent.held import UNKNOWN
from gputally.agent.once.as_json import as_json
from gputally.agent.once.look import nothing, take, unseen
from gputally.agent.probe.main import ProbeSettings, monotonic_us
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.sample import DeviceSample, ProcessReading, Reading


def test_a_complete_look_has_nothing_unseen() -> None:
    assert unseen(look()) == []


def test_what_could_not_be_seen_is_said_a_line_each() -> None:
    dark = replace(GOOD, reading=Reading(), detail=ProcessReading(None, None))
    assert unseen(look(dark, UNKNOWN, ["the kubelet does not answer"])) == [
        "the kubelet does not answer",
        "GPU-0: the driver does not tell its utilisation",
        "GPU-0: the driver does not tell its memory",
        "GPU-0: the driver does not list its processes",
        "GPU-0: its reservations cannot be told",
    ]
    assert unseen(look(DeviceSample(GOOD.info, unavailable=True, error="GPU is lost"))) == [
        "GPU-0: unavailable: GPU is lost"
    ]
    assert unseen(look(DeviceSample(GOOD.info, error="Unknown Error"))) == ["GPU-0: no answer: Unknown Error"]


def test_a_mig_device_that_nobody_can_measure_is_said_by_its_own_name() -> None:
    assert unseen(look(DIVIDED, HELD_APART)) == ["MIG-small: the driver does not tell its utilisation"]


def test_a_driver_that_must_be_left_alone_is_a_look_at_nothing() -> None:
    found = nothing("node-1", 1, "the driver is released")
    assert unseen(found) == ["the driver is released"]
    assert as_json(found, OWNERS)["devices"] == []


SIMULATED = {
    "gpus": [
        {
            "uuid": "GPU-00000000-0000-4000-8000-000000000001",
            "model": "H100",
            "idle_watts": 70,
            "max_watts": 700,
            "memory_gib": 80,
        }
    ],
    "workloads": [{"host": {"user": "user-1000"}, "gpus": [0], "busy_percent": 50}],
}
NO_GPU = """
import json, sys, time
from multiprocessing.connection import Connection
from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.sample import Sample
settings = json.loads(sys.argv[1])
up, down = Connection(settings["upward_fd"], readable=False), Connection(settings["downward_fd"], writable=False)
while True:
    up.send(Sample(monotonic_us(), wall_us(), (), True))
    try:
        down.recv()
    except EOFError:
        break
"""
LONG_US = 30_000_000


@contextmanager
def probing(scenario: Path, **changes: object) -> Iterator[Supervisor]:
    """A real probe of one simulated GPU, or of what stands in for it."""
    scenario.write_text(json.dumps({**SIMULATED, "faults": changes.pop("faults", [])}))
    settings = ProbeSettings(-1, -1, "/proc", 20_000, 3_600_000_000, str(scenario))
    with closing(Supervisor(settings, LONG_US, LONG_US, monotonic_us, time.sleep, **changes)) as supervisor:
        yield supervisor


def test_a_look_is_a_second_full_sample_in_which_processes_have_a_utilisation(tmp_path: Path) -> None:
    with probing(tmp_path / "s.json") as probe:
        found = take("node-1", probe, None, monotonic_us, "")
    assert unseen(found) == []
    [device] = as_json(found, OWNERS)["devices"]
    assert [process["utilization"] for process in device["processes"]] == [50]
    assert [(part["id"], part["state"]) for part in device["partitions"]] == [("gpu", "free")]


def test_a_lost_device_is_shown_as_lost_without_waiting_for_what_it_cannot_tell(tmp_path: Path) -> None:
    with probing(tmp_path / "s.json", faults=[{"kind": "lost", "gpus": [0], "when": {}}]) as probe:
        started_us = monotonic_us()
        found = take("node-1", probe, None, monotonic_us, "")
    assert monotonic_us() - started_us < LONG_US
    [line] = unseen(found)
    assert "unavailable" in line


def test_a_node_without_a_gpu_is_not_a_complete_look(tmp_path: Path) -> None:
    with probing(tmp_path / "s.json", command=(sys.executable, "-c", NO_GPU)) as probe:
        found = take("node-1", probe, None, monotonic_us, "")
    assert unseen(found) == ["NVML shows no GPU on this node"]


def test_a_driver_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    with probing(tmp_path / "s.json", command=(sys.executable, "-c", "")) as probe:
        found = take("node-1", probe, None, monotonic_us, "not in the host's pid namespace")
    assert unseen(found) == ["not in the host's pid namespace", "the probe ended unexpectedly; a new one is started"]


def test_a_driver_that_never_answers_is_said_after_a_minute(tmp_path: Path) -> None:
    hours = iter(range(0, 10**15, 3_600_000_000))
    with probing(tmp_path / "s.json", command=(sys.executable, "-c", "import signal; signal.pause()")) as probe:
        found = take("node-1", probe, None, lambda: next(hours), "")
    assert unseen(found) == ["the driver did not answer within 60 s"]
    assert as_json(found, OWNERS)["devices"] == []
