"""What goes through the probe's pipe: it arrives as it was sent, in few bytes."""

import copyreg
import dataclasses
import pickle

from gputally.accounting.states import Source
from gputally.agent import sample
from gputally.agent.probe import message

NOUNS = [kind for kind in vars(sample).values() if dataclasses.is_dataclass(kind)]
READING = sample.Reading(
    busy=(sample.BusySample(5, 40), sample.BusySample(6, None)),
    busy_source=Source.DEVICE_SAMPLES,
    rejected={"late": 1},
    instances=(sample.InstanceReading("MIG-1", gpm=sample.GpmReading(0, 9, graphics=10)),),
)
DETAIL = sample.ProcessReading(
    processes=(
        sample.GpuProcess(
            7, sample.ProcessKind.COMPUTE, process=sample.Process(7, 1, job=sample.SlurmJob("job_1", "u"))
        ),
    ),
    busy=(sample.ProcessBusy(7, 3),),
)
INFO = sample.DeviceInfo("GPU-0", 0, "H100", instances=(sample.MigInstance("MIG-1", 1, 0, 1, "1g.10gb"),))
SAMPLE = sample.Sample(1, 2, (sample.DeviceSample(INFO, READING, DETAIL, xids=(79,)),), True, "", 3)


def test_a_sample_arrives_as_it_was_sent() -> None:
    assert pickle.loads(pickle.dumps(SAMPLE)) == SAMPLE  # noqa: S301 - our own bytes


def test_every_noun_of_a_sample_is_sent_as_its_arguments() -> None:
    """A new one that is forgotten would cost three times as much, on every node, at every tick."""
    assert [kind.__name__ for kind in NOUNS if kind not in copyreg.dispatch_table] == []
    assert message.Message  # the module that registers them
