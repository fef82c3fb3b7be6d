"""GPM, the performance counters of Hopper and newer: what a GPU or a GPU instance did between two samples.

A sample is a snapshot of counters in memory of the driver's library; figures are differences of two. Each measured
thing keeps two samples, taken in turn; they are not allocated again, and freed when the thing or the driver goes.
"""

import ctypes
import logging
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from struct import Struct
from typing import Any

import pynvml

from gputally.agent.nvml.errors import DRIVER_GONE, Code, device_error
from gputally.agent.nvml.handle import symbol
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

_NAMES = [name for name, _ in _METRICS]
_QUESTION = pynvml.c_nvmlGpmMetricsGet_t
_ANSWERS = Struct("=" + "4xId24x" * len(_METRICS))  # nvmlGpmMetric_t: return code and value; its own access is slow
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
        self._question = _question()

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
        _QUESTION.sample1.__set__(self._question, pair.spare)
        _QUESTION.sample2.__set__(self._question, pair.last)
        code = symbol("nvmlGpmMetricsGet")(ctypes.byref(self._question))
        if code in DRIVER_GONE:
            raise device_error(code, str(pynvml.NVMLError(code)), "nvmlGpmMetricsGet")
        if code:
            rejected["gpm-failed"] += 1
            return None
        answers = _ANSWERS.unpack_from(self._question, _QUESTION.metrics.offset)
        codes, values = answers[::2], answers[1::2]
        known = [_value(*each, rejected) for each in zip(_NAMES, codes, values, strict=True)]
        if known[0] is None and codes[0] == Code.SUCCESS:
            return None  # impossible: counters that began again between the two, so nothing of it is to be believed
        return GpmReading(since_us, now_us, *known)


def _question() -> Any:
    """What is asked for, by pynvml's structure: 19 kB, of which the driver touches as much as we ask for."""
    question = _QUESTION()
    question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    question.numMetrics = len(_METRICS)
    for number, (_, metric) in enumerate(_METRICS):
        question.metrics[number].metricId = metric
    return question


def _value(name: str, code: int, value: float, rejected: Counter[str]) -> int | None:
    """Each figure has a return code of its own."""
    return millionths(value, f"gpm-{name}", rejected) if code == Code.SUCCESS else None


def _free(sample: Any) -> None:
    try:
        pynvml.nvmlGpmSampleFree(sample)
    except pynvml.NVMLError as error:
        _log.debug("nvmlGpmSampleFree: %s", error)  # the driver went first
