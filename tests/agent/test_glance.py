"""A glance becomes the sample that would have been taken in its place."""

from dataclasses import replace

from gputally.accounting.states import Source
from gputally.agent.probe.glance import Answer, Glance, Samples
from gputally.agent.probe.message import pack, unpack
from gputally.agent.sample import (
    CallTimes,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    ProcessKind,
    ProcessReading,
    Reading,
    Sample,
    Vitals,
)

A, B = (DeviceInfo(f"GPU-{name}", index, "H100") for index, name in enumerate("ab"))
WHO = (GpuProcess(7, ProcessKind.COMPUTE, 1 << 30),)
OTHERS = (GpuProcess(8, ProcessKind.COMPUTE, 1 << 30),)
WARM = ProcessReading(None, (), vitals=Vitals(40))
ANSWER: Answer = (100, 1, b"", 5, 1, 2, 3, 4)
TOLD = Reading((), Source.DEVICE_SAMPLES, 5, 1, 2, 3, 4, True, {}, 100)
FIRST = Sample(
    0,
    1_000,
    (DeviceSample(A, Reading(), ProcessReading(WHO)), DeviceSample(B, Reading(), ProcessReading(()))),
    True,
    "one GPU more is on the machine",
)


def test_it_is_of_the_devices_of_the_sample_before_and_lacks_what_that_lacked() -> None:
    samples = Samples()
    samples.whole(FIRST)
    sample = samples.whole(Glance(5, 1_005, 2, (ANSWER, ANSWER)))
    assert sample == Sample(5, 1_005, (DeviceSample(A, TOLD), DeviceSample(B, TOLD)), False, FIRST.problem, 2)


def test_processes_that_are_the_same_are_those_of_the_sample_that_had_them_last() -> None:
    samples = Samples()
    samples.whole(FIRST)
    samples.whole(Glance(5, 1_005, 2, (ANSWER, ANSWER)))
    calls = (CallTimes("nvmlDeviceGetSamples", (1,), 2),)
    details = ((WARM, True), (replace(WARM, processes=OTHERS), False))
    sample = samples.whole(Glance(9, 1_009, 2, (ANSWER, ANSWER), details, calls))
    found = [device.detail for device in sample.devices]
    assert (sample.full, sample.calls) == (True, calls)
    assert found == [replace(WARM, processes=WHO), replace(WARM, processes=OTHERS)]
    again = samples.whole(Glance(9, 1_009, 2, (ANSWER, ANSWER), ((WARM, True), (WARM, True))))
    assert [device.detail for device in again.devices] == found


def test_a_device_whose_processes_could_not_be_asked_for_has_none() -> None:
    samples = Samples()
    samples.whole(FIRST)
    sample = samples.whole(Glance(5, 1_005, 2, (ANSWER, ANSWER), ((None, False), (WARM, False))))
    assert [device.detail for device in sample.devices] == [None, WARM]


def test_a_glance_arrives_as_it_was_sent() -> None:
    told = Glance(5, 1_005, 2, (ANSWER,), ((WARM, True),), (CallTimes("nvmlDeviceGetSamples", (1,), 2),))
    found = unpack(pack(told))
    assert (found, type(found)) == (told, Glance)
    assert unpack(pack(FIRST)) == FIRST
