"""A snapshot in which everything is known, and files of how it reads: `python -m tests.snapshots` writes them."""

from fractions import Fraction
from pathlib import Path

from gputally.accounting.states import OwnerKind, State
from gputally.agent.exposition.text import render
from gputally.agent.idle_spell import IdleSpell
from gputally.agent.sample import CallTimes, DeviceInfo, GpmReading, MigInstance, Reading, Vitals
from gputally.agent.snapshot import (
    DeviceSnapshot,
    PartitionSnapshot,
    Place,
    PodInfo,
    PodSnapshot,
    Snapshot,
    SourceState,
    SpoolState,
    StreamState,
)
from gputally.proto.certificate import Validity

GOLDEN = Path(__file__).parent / "data" / "exposition"
GIB = 1 << 30
MODEL = 'NVIDIA "H100"'
TRAIN = Place("team", "train-0", "main")
CHAT = Place("chat", "server-0", "model")
_MIG = MigInstance("MIG-1", 7, 0, 1, "1g.10gb")
_READING = Reading(
    memory_used_bytes=0, memory_total_bytes=80 * GIB, utilization_percent=37, power_mw=70_125, energy_mj=9
)
_QUALITY = GpmReading(0, 1, 370_000, 300_000, 200_000, 100_000, 50_000)

FULL = Snapshot(
    node="n1",
    devices=(
        DeviceSnapshot(
            "GPU-1",
            MODEL,
            {State.USED: 1_500_000, State.IDLE: 0},
            energy_mj=2500,
            unreserved_us={OwnerKind.HOST: 3_000_000},
            intruder_us={OwnerKind.POD: 500_000},
            xids={31: 2, 999: 1},
            info=DeviceInfo("GPU-1", 0, MODEL, 3, "0000:3b:00.0"),
            available=True,
            reading=_READING,
            vitals=Vitals(46, 1980, 2619, 0x24 | 1 << 40),
            quality=_QUALITY,
            last_xid=999,
            ghost_memory_bytes=5 * GIB,
            intruder_memory_bytes=GIB,
            place=TRAIN,
        ),
        DeviceSnapshot("GPU-2", "NVIDIA H100"),
        DeviceSnapshot(
            "GPU-3",
            "NVIDIA H100",
            info=DeviceInfo("GPU-3", 1, "NVIDIA H100", mig_enabled=True, slices=7, instances=(_MIG,)),
            available=True,
            reading=Reading(memory_used_bytes=GIB, memory_total_bytes=80 * GIB),
            vitals=Vitals(30),
            partitions=(PartitionSnapshot(_MIG, 3 * GIB, 10 * GIB, _QUALITY, CHAT),),
        ),
    ),
    pods=(
        PodSnapshot("team", "train-0", "main", "GPU-1", {State.USED: 1}, 1, 250_000, 125_000, 61 * GIB),
        PodSnapshot("team", "train-1", "main", "GPU-1"),
    ),
    spells=(
        IdleSpell("chat", "server-0", "model", "GPU-3", "MIG-1", Fraction(1, 7), 1_800_500_000, 3_600_000_000),
        IdleSpell("team", "train-0", "main", "GPU-1", "gpu", Fraction(1), 0, 60_000_000),
        IdleSpell("team", "train-1", "main", "GPU-1", "replica", Fraction(1, 4), None, 60_000_000),
    ),
    pod_infos=(
        PodInfo("team", "train-0", "Job", "train", "off", 1_700_000_000_000_000),
        PodInfo("chat", "server-0"),
    ),
    samples=12,
    rejected={"over-100": 2},
    sources=(SourceState("nvml", True, 1500), SourceState("kubelet", False)),
    calls=(CallTimes("nvmlDeviceGetPowerUsage", (3, 1, 0, 0, 0, 1), 2_000_400),),
    spool=SpoolState(3, 4096, 1_700_000_000_500_000, {"full": 1}, {"full": 60_000_000}, 1, "disk full", 6),
    stream=StreamState(
        True, True, 5, 1_700_000_000_000_000, "", 2, 7, 70, {"clock": 1}, Validity(1_690_000_000, 1_710_000_000)
    ),
    conservation_error_us=3,
    series_refused=4,
    released=True,
    not_ready=("the kubelet does not answer",),
)
EMPTY = Snapshot("n1")


def golden() -> dict[str, bytes]:
    """What each file must hold."""
    native, both = render(FULL), render(FULL, dcgm_names=True)
    assert both.startswith(native)
    return {"agent.prom": native, "agent_dcgm_names.prom": both[len(native) :]}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, text in golden().items():
        (GOLDEN / name).write_bytes(text)
