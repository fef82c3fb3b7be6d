"""A glance: one tick over GPUs that are all as they were, carried as the driver's bare answers.

Most ticks are like that. Where caches are cold once a second, to make a `Sample` costs more than to ask the driver. So
the probe sends the answers as they are, and its parent, which takes several ticks at once, makes samples of them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from gputally.accounting.states import Source
from gputally.agent.nvml.records import busy_samples, sample_entries
from gputally.agent.sample import CallTimes, DeviceSample, GpuProcess, ProcessReading, Reading, Sample

# Of one GPU: where its buffer was read from, the type of the buffer's values, its entries (None: not asked this time),
# percent busy, bytes used and in all, mW, mJ. All of them are known and possible, but for what stands in the entries.
Answer: TypeAlias = tuple[int, int, bytes | None, int, int, int, int, int]
# The costly values of a GPU, and whether its processes are those of the detail before, and left out here.
Detail: TypeAlias = tuple[ProcessReading | None, bool]
# The processes of each device as last told, where they were known.
Listed: TypeAlias = dict[str, tuple[GpuProcess, ...]]


def listed(devices: Iterable[DeviceSample]) -> Listed:
    """What a sample with processes tells: its probe and whoever reads it know it from then on."""
    details = ((device.info.uuid, device.detail) for device in devices)
    return {uuid: detail.processes for uuid, detail in details if detail and detail.processes is not None}


class Glance(NamedTuple):
    """The answers of all devices of the sample before, in that order; times and `calls` as in `Sample`.

    `details` of each device, where processes were asked for.
    """

    monotonic_us: int
    wall_us: int
    took_us: int
    answers: tuple[Answer, ...]
    details: tuple[Detail, ...] | None = None
    calls: tuple[CallTimes, ...] = ()


class Samples:
    """Makes whole samples of what one probe sends, message by message."""

    def __init__(self) -> None:
        self._last = Sample(0, 0, ())
        self._listed: Listed = {}

    def whole(self, told: Sample | Glance) -> Sample:
        """The sample; a glance is of the devices of the one before."""
        self._last = told if isinstance(told, Sample) else self._of(told)
        if self._last.full:
            self._listed = listed(self._last.devices)
        return self._last

    def _of(self, glance: Glance) -> Sample:
        details: Iterable[Detail | None] = glance.details or (None for _ in glance.answers)
        devices = tuple(
            DeviceSample(device.info, _reading(answer, glance.wall_us), self._detail(device.info.uuid, detail))
            for device, answer, detail in zip(self._last.devices, glance.answers, details, strict=True)
        )
        full, problem = glance.details is not None, self._last.problem
        return Sample(glance.monotonic_us, glance.wall_us, devices, full, problem, glance.took_us, glance.calls)

    def _detail(self, uuid: str, detail: Detail | None) -> ProcessReading | None:
        reading, is_same = detail or (None, False)
        return replace(reading, processes=self._listed[uuid]) if reading and is_same else reading


def _reading(answer: Answer, now_us: int) -> Reading:
    after_us, value_type, entries, percent, used, total, power_mw, energy_mj = answer
    if entries is None:
        return Reading(None, Source.DEVICE_SAMPLES, percent, used, total, power_mw, energy_mj, True)
    rejected: Counter[str] = Counter()
    busy = busy_samples(sample_entries(entries, value_type), after_us, now_us, rejected)
    return Reading(
        busy, Source.DEVICE_SAMPLES, percent, used, total, power_mw, energy_mj, True, dict(rejected), after_us
    )
