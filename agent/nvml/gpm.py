"""GPM, the performance counters of Hopper and newer: what a GPU or a GPU instance did between two samples.

A sample is a snapshot of counters in memory of the driver's library; figures are differences of two. Each measured
thing keeps two samples, taken in turn; they are not allocated again, and freed when the thing or the driver goes.
"""

import logging
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

import pynvml

from gputally.agent.nvml.errors import DRIVER_GONE, Code, device_error
from gputally.agent.nvml.records import millionths
from gputally.agent.sample import GpmReading

SHORTEST_US = 150_000  # NVML: the counters are refreshed about every 100 ms; nearer samples give nothing or nonsense

_METRICS = (  # in the order of GpmReading's fields
    ("graphics", pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL),
    ("sm", pynvml.NVML_GPM_METRIC_SM_UTIL),
    ("occupancy", pynvml.NVML_GPM_METRIC_SM_OCCUPANCY),
    ("tensor", pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL),
    ("dram", pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL),
)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pair:
    """`last` was taken at `taken_us` (wall clock); None: there is none yet, or it must not be compared with."""

    last: Any = None
    spare: Any = None
    taken_us: int | None = None


class Gpm:
    """The pairs of samples, by the UUID of what they measure: a GPU or a MIG device."""

    def __init__(self) -> None:
        self._pairs: dict[str, _Pair] = {}
        self._question = pynvml.c_nvmlGpmMetricsGet_t()  # 19 kB, of which the driver touches as much as we ask for

    def is_due(self, uuid: str, now_us: int, every_us: int) -> bool:
        """Whether `read` would take a sample."""
        pair = self._pairs.get(uuid)
        return pair is None or pair.taken_us is None or not 0 <= now_us - pair.taken_us < every_us

    def read(
        self, uuid: str, now_us: int, every_us: int, take: Callable[[Any], object], rejected: Counter[str]
    ) -> GpmReading | None:
        """Averages since the sample before; None at the first one, and while it is not `every_us` old.

        `now_us` is the wall clock's time at which the GPU is read: one for all of its MIG devices, so that none of them
        begins or ends a stretch of its own. `take` writes the counters into a sample. Raises its NVMLError; the next
        average then covers this time as well.
        """
        pair = self._pairs.setdefault(uuid, _Pair())
        since_us = pair.taken_us
        if since_us is not None and 0 <= now_us - since_us < every_us:
            return None
        if pair.spare is None:
            pair.spare = pynvml.nvmlGpmSampleAlloc()
        take(pair.spare)
        pair.last, pair.spare, pair.taken_us = pair.spare, pair.last, now_us
        if since_us is None or since_us >= now_us:  # the first, or the clock was set back
            return None
        return self._averages(pair, since_us, now_us, rejected)

    def forget(self, uuid: str) -> None:
        """Its counters may start again: compare with nothing that was before."""
        if uuid in self._pairs:
            self._pairs[uuid].taken_us = None

    def retain(self, uuids: Container[str]) -> None:
        """Free the samples of everything else."""
        for uuid in [each for each in self._pairs if each not in uuids]:
            pair = self._pairs.pop(uuid)
            for sample in filter(None, (pair.last, pair.spare)):
                _free(sample)

    def close(self) -> None:
        """Free all samples: before the driver is let go."""
        self.retain(())

    def _averages(self, pair: _Pair, since_us: int, now_us: int, rejected: Counter[str]) -> GpmReading | None:
        question = self._question
        question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(_METRICS)
        question.sample1, question.sample2 = pair.spare, pair.last
        for number, (_, metric) in enumerate(_METRICS):
            question.metrics[number].metricId = metric
        try:
            pynvml.nvmlGpmMetricsGet(question)
        except pynvml.NVMLError as error:
            if error.value in DRIVER_GONE:
                raise device_error(error.value, str(error), "nvmlGpmMetricsGet") from error
            rejected["gpm-failed"] += 1
            return None
        answers = {name: question.metrics[number] for number, (name, _) in enumerate(_METRICS)}
        values = {name: _value(name, answer, rejected) for name, answer in answers.items()}
        if values["graphics"] is None and answers["graphics"].nvmlReturn == Code.SUCCESS:
            return None  # impossible: counters that began again between the two, so nothing of it is to be believed
        return GpmReading(since_us, now_us, **values)


def _value(name: str, answer: Any, rejected: Counter[str]) -> int | None:
    """Each figure has a return code of its own."""
    return millionths(answer.value, f"gpm-{name}", rejected) if answer.nvmlReturn == Code.SUCCESS else None


def _free(sample: Any) -> None:
    try:
        pynvml.nvmlGpmSampleFree(sample)
    except pynvml.NVMLError as error:
        _log.debug("nvmlGpmSampleFree: %s", error)  # the driver went first
