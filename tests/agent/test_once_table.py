# ruff: noqa: E501 - tables as they are printed
"""One look as a table: partitions and processes under their GPU, and `unknown` for what is not known."""

from dataclasses import replace
from fractions import Fraction

from tests.agent.test_once_json import DIVIDED, HELD_APART
from tests.looks import CHAT, GIB, GONE, GOOD, IN_POD, MINE, OWNERS, READING, TRAIN

from gputally.accounting.keys import Holding
from gputally.accounting.settlement import Contest
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.once.as_table import as_table
from gputally.agent.once.look import Look
from gputally.agent.sample import (
    ContainerRef,
    DeviceInfo,
    DeviceSample,
    GpuProcess,
    Process,
    ProcessKind,
    ProcessReading,
    Sample,
)

WHOLE = """\
GPU  MODEL        UTIL     MEMORY     POWER    SOURCE           PARTITION  SHARE  PID   RESERVED  WHO
0    NVIDIA H100  93 %     63488 MiB  612 W    device-samples   gpu        1            yes       research/train-0/main
                  91 %     62464 MiB           process-samples                    4711  yes       research/train-0/main
                  0 %      unknown             process-samples                    812   no        user-1000 (session-1.scope)
1    NVIDIA H100  93 %     63488 MiB  unknown  device-samples   gpu        1            yes       inference/chat/server
2    NVIDIA H100  93 %     63488 MiB  612 W    device-samples   gpu        1                      -
                  0 %      62464 MiB           process-samples                    4711  no        research/train-0/main
                  0 %      1024 MiB            process-samples                    99    unknown   gone (its memory stays)
3    NVIDIA H100  93 %     63488 MiB  612 W    device-samples   gpu        1            yes       inference/chat/server, research/train-0/main (two holders)
4    NVIDIA H100  unknown  unknown    unknown  none             unknown                           unknown
                                                                                                  processes unknown
"""
SHARED = """\
GPU  MODEL        UTIL     MEMORY     POWER  SOURCE           PARTITION        SHARE   PID   RESERVED  WHO
1    NVIDIA H100  93 %     63488 MiB  612 W  device-samples
                                                              replica          0.25          yes       research/train-0/main
                                                              replica          0.5           yes       inference/chat/server
                                                              replica          0.25                    -
                  91 %     62464 MiB         process-samples                           4711  yes       research/train-0/main
                  0 %      unknown           process-samples                           812   no        user-1000 (session-1.scope)
0    NVIDIA H100  unknown  63488 MiB  400 W  none
                  42 %     8192 MiB          gpm              3g.40gb          0.429         yes       research/train-0/main
                                                              1g.10gb replica  0.0714        yes       inference/chat/server
                                                              1g.10gb replica  0.0714                  -
                                                              gpu              0.429                   - (MIG remainder)
                  unknown  62464 MiB         none             3g.40gb                  4711  yes       research/train-0/main
                  unknown  unknown           none             1g.10gb                  812   no        user-1000 (session-1.scope)
"""


def table(*devices: tuple[DeviceSample, Held]) -> list[str]:
    sample = Sample(1, 1, tuple(device for device, _ in devices), full=True)
    return as_table(Look("n", sample, {d.info.uuid: held for d, held in devices}), OWNERS).split("\n")


def gpu(index: int, **changes: object) -> DeviceSample:
    return replace(GOOD, info=DeviceInfo(f"GPU-{index}", index, "NVIDIA H100"), **changes)  # type: ignore[arg-type]


def test_whole_gpus_with_their_holder_and_processes() -> None:
    rows = table(
        (gpu(0), MINE),
        (gpu(1, detail=ProcessReading((), ()), reading=replace(READING, power_mw=None)), Held((Holding(CHAT),))),
        (gpu(2, detail=ProcessReading((IN_POD, replace(GONE, memory_bytes=GIB)), ())), NOBODY),
        (gpu(3, detail=ProcessReading((), ())), Held((), Contest(frozenset({TRAIN, CHAT})))),
        (gpu(4, detail=None, reading=None, unavailable=True), UNKNOWN),
    )
    assert rows == WHOLE.splitlines()


def test_replicas_and_mig_devices_stand_under_their_gpu() -> None:
    shared = Held((Holding(TRAIN, "replica", Fraction(1, 4)), Holding(CHAT, "replica", Fraction(1, 2))))
    assert table((gpu(1), shared), (DIVIDED, HELD_APART)) == SHARED.splitlines()


def test_a_node_without_devices_is_a_table_of_its_header() -> None:
    assert len(table()) == 1


def test_a_container_that_a_user_started_is_shown_as_his() -> None:
    """On a node of Kubernetes too, where it is in no pod."""
    ref = ContainerRef(None, "c" * 64, None, "podman", "user")
    process = GpuProcess(813, ProcessKind.COMPUTE, GIB, Process(813, 1, ref, "alice", "train.scope"))
    (row,) = [line for line in table((gpu(0, detail=ProcessReading((process,), ())), NOBODY)) if "813" in line]
    assert row.endswith("alice (train.scope)")
