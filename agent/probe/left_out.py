"""GPUs that made a probe hang: the others go on without them, and each is asked again later, alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gputally.agent.probe.child import Child
from gputally.agent.sample import DeviceInfo, DeviceSample, Sample

_FIRST_BACKOFF_US = 15_000_000
_LONGEST_BACKOFF_US = 900_000_000
_SILENT = "it did not answer in time, so it is left out; it is asked again alone"


@dataclass(slots=True)
class _Absence:
    """When a GPU is asked again (monotonic), and how long it then waits if that was in vain."""

    due_us: int
    backoff_us: int


class LeftOut:
    """The GPUs that are left out, by index, and the scout: a probe of its own that asks one of them.

    `start_scout` starts a probe that touches only this GPU, takes one sample and ends, or cannot now. A GPU that hangs
    a second time waits longer, also when a scout found it well in between: each hang costs the others a deadline.
    """

    def __init__(
        self, start_scout: Callable[[int], Child | None], deadline_us: int, leave: Callable[[Child], None]
    ) -> None:
        self._start_scout = start_scout
        self._deadline_us = deadline_us
        self._leave = leave  # takes a child that may be stuck
        self._absent: dict[int, _Absence] = {}
        self._backoffs: dict[int, int] = {}  # of GPUs that hung and came back
        self._infos: dict[int, DeviceInfo] = {}
        self._scout: tuple[Child, int, int] | None = None  # which GPU it asks, and until when

    @property
    def indices(self) -> tuple[int, ...]:
        """Which GPUs a probe must not touch."""
        return tuple(sorted(self._absent))

    @property
    def problem(self) -> str:
        """One line; empty when none is left out."""
        names = ", ".join(self.name(index) for index in self.indices)
        return names and f"{names}: {_SILENT}"

    def name(self, index: int) -> str:
        """How people know it."""
        info = self._infos.get(index)
        return f"GPU {index} ({info.uuid})" if info else f"GPU {index}"

    def add(self, index: int, now_us: int) -> None:
        """This GPU made a probe hang. The first time it is asked again as soon as the others are well."""
        backoff_us = self._backoffs.get(index, 0)
        self._absent[index] = _Absence(now_us + backoff_us, _longer(backoff_us))

    def complete(self, sample: Sample) -> Sample:
        """The sample with the GPUs that are left out, as ones that did not answer."""
        self._infos |= {device.info.index: device.info for device in sample.devices}
        if not self._absent:
            return sample
        seen = {device.info.uuid for device in sample.devices}
        known = [self._infos[index] for index in self.indices if index in self._infos]
        silent = tuple(DeviceSample(info, error=_SILENT) for info in known if info.uuid not in seen)
        return replace(sample, devices=sample.devices + silent)

    def step(self, now_us: int) -> int | None:
        """Send a scout to a GPU that is due, or hear the one on its way: the GPU that is well again, if one is."""
        if self._scout:
            return self._hear(*self._scout, now_us)
        due = next((index for index in self.indices if self._absent[index].due_us <= now_us), None)
        scout = None if due is None else self._start_scout(due)
        if scout and due is not None:
            self._scout = (scout, due, now_us + self._deadline_us)
        return None

    def close(self) -> Child | None:
        """Call the scout back; returns it, disconnected, as it may be stuck."""
        if self._scout is None:
            return None
        scout, index, _ = self._scout
        self._scout = None
        scout.disconnect()
        if index in self._absent:
            self._absent[index].due_us = 0
        return scout

    def forget(self) -> None:
        """The driver is a new one: indices may mean other GPUs, and what hung may not hang any more."""
        self._absent.clear()
        self._backoffs.clear()

    def _hear(self, scout: Child, index: int, until_us: int, now_us: int) -> int | None:
        try:
            message = scout.receive(0)
        except (EOFError, OSError):
            return self._end(scout, index, now_us, well=False)
        if message is not None:
            return self._end(scout, index, now_us, well=isinstance(message, Sample) and _has_answered(message, index))
        if now_us >= until_us:
            return self._end(scout, index, now_us, well=False)
        return None

    def _end(self, scout: Child, index: int, now_us: int, *, well: bool) -> int | None:
        self._scout = None
        scout.disconnect()
        self._leave(scout)
        absence = self._absent.get(index)
        if absence is None:
            return None
        if well:
            self._backoffs[index] = absence.backoff_us
            del self._absent[index]
            return index
        absence.due_us = now_us + absence.backoff_us
        absence.backoff_us = _longer(absence.backoff_us)
        return None


def _has_answered(sample: Sample, index: int) -> bool:
    """Whether it said anything, be it that it is lost."""
    return any(device.info.index == index for device in sample.devices)


def _longer(backoff_us: int) -> int:
    return min(max(2 * backoff_us, _FIRST_BACKOFF_US), _LONGEST_BACKOFF_US)
