"""What a look at the GPUs comes to: lost ones, silent ones, MIG that cannot be measured, hidden processes."""

from dataclasses import replace

import pytest

from gputally.accounting.states import Source
from gputally.agent.doctor.finding import Finding, Level
from gputally.agent.doctor.gpus import judge
from gputally.agent.once.look import Look
from gputally.agent.sample import (
    DeviceInfo,
    DeviceSample,
    InstanceReading,
    MigInstance,
    ProcessReading,
    Reading,
    Sample,
)

GOOD = DeviceSample(
    DeviceInfo("GPU-a", 0, "NVIDIA H100"), Reading(busy_source=Source.DEVICE_SAMPLES), ProcessReading(processes=())
)
MIG = DeviceSample(
    DeviceInfo("GPU-b", 1, "NVIDIA H100", mig_enabled=True, instances=(MigInstance("MIG-1", 1, 0, 1, "1g.10gb"),)),
    Reading(instances=(InstanceReading("MIG-1", gpm_supported=True),)),
    ProcessReading(processes=()),
)
DARK = replace(MIG, reading=Reading(instances=(InstanceReading("MIG-1", gpm_supported=False),)))


def judged(*devices: DeviceSample, problems: tuple[str, ...] = (), on_bus: int = 0) -> list[Finding]:
    return list(judge(Look("n", Sample(0, 0, devices), {}, problems), on_bus))


def test_good_gpus_are_named_by_model_and_partition() -> None:
    found = judged(GOOD, MIG, on_bus=2)
    assert {each.level for each in found} == {Level.OK}
    assert found[0].found == "2 × NVIDIA H100; MIG on 1 of them, with 1 instances"


@pytest.mark.parametrize(
    ("device", "check", "level", "words"),
    [
        (replace(GOOD, reading=None, unavailable=True, error="GPU is lost"), "gpus", Level.WARN, "GPU is lost"),
        (replace(GOOD, reading=None, error="Unknown Error"), "gpus", Level.FAIL, "gives no answer: Unknown Error"),
        (replace(GOOD, reading=Reading()), "gpu-activity", Level.FAIL, "of 1 of 2 GPUs"),
        (DARK, "gpu-activity", Level.FAIL, "1 of 1 MIG instances cannot be measured"),
        (replace(GOOD, detail=ProcessReading()), "gpu-processes", Level.FAIL, "of 1 of 2 GPUs"),
    ],
    ids=["lost", "silent", "no utilisation", "MIG before Hopper", "no process list"],
)
def test_one_bad_gpu_beside_a_good_one_is_told(device: DeviceSample, check: str, level: Level, words: str) -> None:
    (wrong,) = [each for each in judged(GOOD, device) if each.level is not Level.OK]
    assert (wrong.check, wrong.level, words in wrong.found) == (check, level, True), wrong


@pytest.mark.parametrize(
    ("problem", "found", "change"),
    [
        (
            "libnvidia-ml.so.1 not found: install the NVIDIA driver, or give this container the driver capability",
            "libnvidia-ml.so.1 not found",
            "install the NVIDIA driver, or give this container the driver capability",
        ),
        ("NVML does not answer: Unknown Error; look at dmesg", "NVML does not answer: Unknown Error", "look at dmesg"),
        (
            "the driver was replaced under the probe (x); a new one is started",
            "the driver was replaced",
            "delete the pod",
        ),
        ("GPU 1 did not answer in time; a new probe is started without it", "GPU 1 did not answer in time", "state D"),
        ("NVML shows no GPU on this node", "NVML shows no GPU on this node", "lspci"),
    ],
)
def test_what_the_probe_says_is_parted_into_what_is_and_what_to_do(problem: str, found: str, change: str) -> None:
    (line,) = judged(problems=(problem,))
    assert line.level is Level.FAIL
    assert line.found.startswith(found)
    assert change in line.change


def test_a_gpu_that_nvml_does_not_show_is_missed() -> None:
    (wrong,) = [each for each in judged(GOOD, on_bus=2) if each.level is not Level.OK]
    assert wrong.found == "NVML shows 1 of 2 GPUs on the PCI bus"
