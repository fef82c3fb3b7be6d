"""One look at a node: the documented JSON, the table, and what could not be seen."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.settlement import Contest
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.identity import Identity, NoPods, PodName
from gputally.agent.once import Look, as_json, as_json_text, as_table, take, unseen
from gputally.agent.probe import ProbeSettings, monotonic_us
from gputally.agent.sample import (
    BusySample,
    ContainerRef,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    Process,
    ProcessBusy,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
)
from gputally.agent.supervisor import Supervisor

GIB = 1 << 30
TRAIN = Owner(OwnerKind.POD, "research", "train-0", "main", "uid-a")
CHAT = Owner(OwnerKind.POD, "inference", "chat", "server", first_seen_us=5)
REF = ContainerRef("uid-a", "c0ffee", "burstable", "containerd", "pod")
IN_POD = GpuProcess(4711, ProcessKind.COMPUTE, 61 * GIB, Process(4711, 9, REF))
ON_HOST = GpuProcess(812, ProcessKind.COMPUTE, None, Process(812, 8, None, "user-1000", "session-1.scope"))
GONE = GpuProcess(99, ProcessKind.COMPUTE)
READING = Reading(
    busy=(BusySample(1, 20), BusySample(2, 93)),
    busy_source=Source.DEVICE_SAMPLES,
    memory_used_bytes=62 * GIB,
    memory_total_bytes=80 * GIB,
    power_mw=612_400,
    energy_mj=123_456_789,
    energy_supported=True,
)
DETAIL = ProcessReading((IN_POD, ON_HOST), (ProcessBusy(4711, 91),))
GOOD = DeviceSample(DeviceInfo("GPU-0", 0, "NVIDIA H100"), READING, DETAIL)
MINE = Held((Holding(TRAIN),))


@dataclass
class Pods:
    """The API's pods: one, whose container is known."""

    containers: dict[str, tuple[PodName, str]] = field(
        default_factory=lambda: {"c0ffee": (PodName("uid-a", "research", "train-0"), "main")}
    )

    def of_uid(self, uid: str) -> PodName | None:
        return next((pod for pod, _ in self.containers.values() if pod.uid == uid), None)

    def of_container(self, container_id: str) -> tuple[PodName, str] | None:
        return self.containers.get(container_id)


OWNERS = Identity(Pods(), kubernetes=True).owners
NAMELESS = Identity(NoPods(), kubernetes=True).owners


def look(device: DeviceSample = GOOD, held: Held = MINE, problems: Sequence[str] = ()) -> Look:
    sample = Sample(1, 1_735_689_600_250_000, (device,), full=True)
    return Look("node-1", sample, {device.info.uuid: held}, tuple(problems))


def test_the_json_has_the_documented_keys_and_values() -> None:
    assert as_json(look(), OWNERS) == {
        "node": "node-1",
        "taken_at": "2025-01-01T00:00:00.250000Z",
        "devices": [
            {
                "uuid": "GPU-0",
                "index": 0,
                "model": "NVIDIA H100",
                "utilization": 93,
                "memory_used_bytes": 62 * GIB,
                "power_watts": 612.4,
                "energy_mj": 123_456_789,
                "source": "device-samples",
                "partitions": [
                    {
                        "id": "gpu",
                        "share": 1.0,
                        "holders": [
                            {"namespace": "research", "pod": "train-0", "container": "main", "pod_uid": "uid-a"}
                        ],
                    }
                ],
                "processes": [
                    {
                        "pid": 4711,
                        "memory_bytes": 61 * GIB,
                        "utilization": 91,
                        "kind": "pod",
                        "pod_uid": "uid-a",
                        "container_id": "c0ffee",
                        "namespace": "research",
                        "pod": "train-0",
                        "container": "main",
                    },
                    {
                        "pid": 812,
                        "memory_bytes": None,
                        "utilization": 0,
                        "kind": "none",
                        "pod_uid": None,
                        "container_id": None,
                        "namespace": None,
                        "pod": None,
                        "container": None,
                    },
                ],
            }
        ],
    }


def test_the_text_is_that_json() -> None:
    assert json.loads(as_json_text(look(), OWNERS)) == as_json(look(), OWNERS)


def device_json(device: DeviceSample, held: Held = MINE) -> dict[str, object]:
    [only] = as_json(look(device, held), OWNERS)["devices"]
    return only


def test_a_lost_device_has_null_for_all_that_is_not_known() -> None:
    lost = device_json(DeviceSample(GOOD.info, unavailable=True, error="GPU is lost"), UNKNOWN)
    unknown = ("utilization", "memory_used_bytes", "power_watts", "energy_mj", "partitions", "processes")
    assert [lost[key] for key in unknown] == [None] * len(unknown)
    assert lost["source"] == "none"


def test_a_list_of_processes_that_the_driver_cannot_give_is_null_and_an_empty_one_is_empty() -> None:
    assert device_json(replace(GOOD, detail=ProcessReading(None, None)))["processes"] is None
    assert device_json(replace(GOOD, detail=ProcessReading((), ())))["processes"] == []


def test_a_process_whose_utilisation_the_driver_cannot_tell_is_not_idle() -> None:
    [process, _] = device_json(replace(GOOD, detail=ProcessReading((IN_POD, ON_HOST), None)))["processes"]
    assert process["utilization"] is None


def test_a_process_that_ended_before_it_was_looked_up_has_a_pid_and_no_more() -> None:
    [process] = device_json(replace(GOOD, detail=ProcessReading((GONE,), ())))["processes"]
    assert {key for key, value in process.items() if value is not None} == {"pid", "utilization"}


def test_a_free_device_is_a_partition_without_holders_and_unknown_reservations_are_null() -> None:
    assert device_json(GOOD, NOBODY)["partitions"] == [{"id": "gpu", "share": 1.0, "holders": []}]
    assert device_json(GOOD, UNKNOWN)["partitions"] is None


def test_the_drivers_own_rate_comes_before_its_buffer() -> None:
    assert device_json(replace(GOOD, reading=replace(READING, utilization_percent=90)))["utilization"] == 90


def test_a_newest_reading_that_was_refused_is_null_not_the_one_before() -> None:
    refused = replace(READING, busy=(BusySample(1, 20), BusySample(2, None)))
    assert device_json(replace(GOOD, reading=refused))["utilization"] is None


def test_two_holders_of_one_device_are_both_listed() -> None:
    [partition] = device_json(GOOD, Held((), Contest(frozenset({TRAIN, CHAT}))))["partitions"]
    assert [(holder["pod"], holder["pod_uid"]) for holder in partition["holders"]] == [
        ("chat", None),
        ("train-0", "uid-a"),
    ]


def test_replicas_show_their_holders_shares() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 4)), Holding(CHAT, "replica", Fraction(1, 2))))
    partitions = device_json(GOOD, held)["partitions"]
    assert [(each["id"], each["share"]) for each in partitions] == [("replica", 0.25), ("replica", 0.5)]


def test_without_the_api_a_pods_process_on_a_wholly_held_device_is_the_holders() -> None:
    process = as_json(look(), NAMELESS)["devices"][0]["processes"][0]
    assert (process["namespace"], process["pod"], process["container"]) == ("research", "train-0", "main")


def test_without_the_api_a_host_process_and_one_on_a_shared_device_stay_unnamed() -> None:
    held = Held((Holding(TRAIN, "replica", Fraction(1, 4)),))
    shared = as_json(look(held=held), NAMELESS)["devices"][0]["processes"]
    assert [process["pod"] for process in shared] == [None, None]
    assert as_json(look(), NAMELESS)["devices"][0]["processes"][1]["pod"] is None


def table(*devices: tuple[DeviceSample, Held]) -> list[str]:
    sample = Sample(1, 1, tuple(device for device, _ in devices), full=True)
    return as_table(Look("n", sample, {d.info.uuid: held for d, held in devices}), OWNERS).split("\n")


def test_the_table() -> None:
    def gpu(index: int, **changes: object) -> DeviceSample:
        return replace(GOOD, info=DeviceInfo(f"GPU-{index}", index, "NVIDIA H100"), **changes)

    rows = table(
        (gpu(0), MINE),
        (gpu(1, detail=ProcessReading((), ()), reading=replace(READING, power_mw=None)), Held((Holding(CHAT),))),
        (gpu(2, detail=ProcessReading((IN_POD,), ())), NOBODY),
        (gpu(3, detail=ProcessReading((), ())), NOBODY),
        (gpu(4, detail=None, reading=None, unavailable=True), UNKNOWN),
    )
    assert rows == [
        "GPU  MODEL        UTIL  MEMORY     POWER  POD                    RESERVED  PID",
        "0    NVIDIA H100  93 %  63488 MiB  612 W  research/train-0/main  yes       4711",
        "                                          -                      no        812",
        "1    NVIDIA H100  93 %  63488 MiB  -      inference/chat/server  yes       -",
        "2    NVIDIA H100  93 %  63488 MiB  612 W  research/train-0/main  no        4711",
        "3    NVIDIA H100  93 %  63488 MiB  612 W  -                      no        -",
        "4    NVIDIA H100  -     -          -      -                      ?         -",
    ]


def test_a_node_without_devices_is_a_table_of_its_header() -> None:
    assert len(table()) == 1


def test_a_complete_look_has_nothing_unseen() -> None:
    assert unseen(look()) == []


def test_what_could_not_be_seen_is_said_a_line_each() -> None:
    dark = replace(GOOD, reading=Reading(), detail=ProcessReading(None, None))
    assert unseen(look(dark, UNKNOWN, ["the kubelet does not answer"])) == [
        "the kubelet does not answer",
        "GPU-0: the driver does not tell its utilisation (MIG is on?)",
        "GPU-0: the driver does not tell its memory",
        "GPU-0: the driver does not list its processes",
        "GPU-0: its reservations cannot be told",
    ]
    assert unseen(look(DeviceSample(GOOD.info, unavailable=True, error="GPU is lost"))) == [
        "GPU-0: unavailable: GPU is lost"
    ]
    assert unseen(look(DeviceSample(GOOD.info, error="Unknown Error"))) == ["GPU-0: no answer: Unknown Error"]


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
from gputally.agent.probe import monotonic_us, wall_us
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
    assert device["partitions"] == [{"id": "gpu", "share": 1.0, "holders": []}]


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
