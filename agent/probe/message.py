"""What the probe and its parent say to each other: nouns of their own, because the child runs as `__main__`."""

import copyreg
import pickle
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from gputally.agent import sample
from gputally.agent.probe.glance import Glance
from gputally.agent.sample import Sample

FLUSH = "flush"  # the request for one full sample, now
BEGIN = "begin"  # the first request to a probe that waits for it


@dataclass(frozen=True, slots=True)
class Failure:
    """The driver cannot be used right now: one line for people. `fatal`: this child ends, a new one may work."""

    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """The pod UIDs of this node, downwards: they tell nested pods from the billable one."""

    uids: frozenset[str]


@dataclass(frozen=True, slots=True)
class TakeUp:
    """A GPU that was left out is well again, downwards: it is touched from now on."""

    index: int


Message = Sample | Failure
Told = Message | Glance  # what goes through the pipe


def pack(told: Told) -> bytes:
    """What the probe tells, as bytes. A glance goes without its name, which would cost more than its values."""
    return pickle.dumps(tuple(told) if isinstance(told, Glance) else told, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Told:
    """What `pack` packed, in a process of our own."""
    told: Message | tuple[Any, ...] = pickle.loads(data)  # noqa: S301
    return Glance(*told) if isinstance(told, tuple) else told


def _send_as_arguments(kind: type[Any]) -> None:
    """Pickle a noun as a call with its fields' values: a third of what a frozen dataclass with slots costs
    by itself, which looks its fields up for each object, on both sides of the pipe."""
    names = [field.name for field in fields(kind)]
    values = attrgetter(*names)
    copyreg.pickle(kind, lambda each: (kind, values(each) if len(names) > 1 else (values(each),)))


for _kind in (
    sample.BusySample,
    sample.CallTimes,
    sample.ContainerRef,
    sample.DeviceInfo,
    sample.DeviceSample,
    sample.GpmReading,
    sample.GpuProcess,
    sample.InstanceReading,
    sample.MigInstance,
    sample.Process,
    sample.ProcessBusy,
    sample.ProcessReading,
    sample.Reading,
    sample.Sample,
    sample.SlurmJob,
    sample.Vitals,
):
    _send_as_arguments(_kind)
