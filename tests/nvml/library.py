"""A real `libnvidia-ml.so.1` for tests: builds it, writes its scenarios, and computes the same truth in exact numbers.

Times are microseconds of the wall clock since 1970, percent is whole percent of a GPU's time. README.md says more.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

SOURCES = Path(__file__).parent
FOREVER_US = 2**62
ALL_ONES = 2**64 - 1  # what the driver writes for "not available"; in a 32-bit field its low half
BUFFER_DEPTH = 72  # entries of the utilisation buffer


@dataclass(frozen=True, slots=True)
class Step:
    """From `at_us` on, until the next step, so many percent."""

    at_us: int
    percent: int


@dataclass(frozen=True, slots=True)
class ScriptedProcess:
    """A process on a GPU's lists over [from_us, to_us). `kinds`: letters of c compute, g graphics, m MPS.

    `memory_bytes` None: the driver cannot tell. `busy` is clipped to the process's life, in percent of the GPU or of
    the MIG device whose UUID is `mig`.
    """

    pid: int
    memory_bytes: int | None = 1024**3
    busy: tuple[Step, ...] = ()
    from_us: int = 0
    to_us: int = FOREVER_US
    kinds: str = "c"
    mig: str = ""

    def lived(self) -> tuple[Step, ...]:
        """Its steps, cut to its life."""
        inside = [step for step in self.busy if self.from_us < step.at_us < self.to_us]
        return (Step(self.from_us, _percent_at(self.busy, self.from_us)), *inside, Step(self.to_us, 0))


@dataclass(frozen=True, slots=True)
class MigDevice:
    """A MIG device of a GPU over [from_us, to_us): its instance ids, slices, memory and place.

    `slot`: its index in the driver's list, and so its handle, which the next one there takes over; None: its place
    among the GPU's devices. `profile_id` and `placement_start` are of its GPU instance.
    """

    uuid: str
    name: str
    gpu_instance: int
    compute_instance: int = 0
    gpu_slices: int = 1
    compute_slices: int = 1
    memory_mib: int = 9856
    slot: int | None = None
    profile_id: int = 19
    placement_start: int = 0
    from_us: int = 0
    to_us: int = FOREVER_US


@dataclass(frozen=True, slots=True)
class ScriptedGpu:
    """A GPU. `busy` None: the sum of its processes, at most 100. `mig` None: it knows no MIG; () enabled and empty.

    Power is a line from `idle_mw` at 0 percent to `full_mw` at 100; energy is its integral since `start_us` on top of
    `energy_mj`, and restarts from 0 at each of `energy_restarts_us`. The buffer has no entry from before `start_us`.
    `minor` None: not supported. `slices`: compute slices of the whole GPU. `gpm` False: as before Hopper.
    `xids` and `recovery` are (instant, Xid) and (instant, the driver's recovery action from then on).
    """

    uuid: str
    start_us: int
    name: str = "NVIDIA H100 80GB HBM3"
    busy: tuple[Step, ...] | None = None
    processes: tuple[ScriptedProcess, ...] = ()
    mig: tuple[MigDevice, ...] | None = None
    minor: int | None = 0
    pci_bus_id: str = "00000000:3B:00.0"
    memory_bytes: int = 80 * 1024**3
    reserved_bytes: int = 512 * 1024**2
    energy_mj: int = 1_000_000
    energy_restarts_us: tuple[int, ...] = ()
    idle_mw: int = 100_000
    full_mw: int = 700_000
    slices: int = 7
    gpm: bool = True
    xids: tuple[tuple[int, int], ...] = ()
    recovery: tuple[tuple[int, int], ...] = ()

    def steps(self) -> tuple[Step, ...]:
        """The device's own percentage."""
        if self.busy is not None:
            return self.busy
        lives = [(process.lived(), self._weight(process.mig)) for process in self.processes]
        instants = sorted({step.at_us for life, _ in lives for step in life})
        return tuple(
            Step(at, min(100, int(sum(_percent_at(life, at) * weight for life, weight in lives)))) for at in instants
        )

    def _weight(self, mig: str) -> Fraction:
        """The part of the GPU that a MIG device is."""
        return next((Fraction(m.gpu_slices, self.slices) for m in self.mig or () if m.uuid == mig), Fraction(1))


@dataclass(frozen=True, slots=True)
class Fault:
    """`call` on GPU number `gpu` (None: every one) returns `code` from `from_us` until `to_us`, at most `times` times.

    `call` is the exported name (process lists: without `_v3`; initialisation: `nvmlInit`); `*` is every call.
    """

    code: int
    call: str = "*"
    gpu: int | None = None
    from_us: int = 0
    to_us: int = FOREVER_US
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """`call` does not return until `to_us`, or until the file is written without this."""

    call: str = "*"
    gpu: int | None = None
    from_us: int = 0
    to_us: int = FOREVER_US


@dataclass(frozen=True, slots=True)
class WrongValue:
    """`call` succeeds with `value` for the truth; the interval holds the ends of nvmlDeviceGetSamples' entries."""

    call: str
    value: int
    gpu: int | None = None
    from_us: int = 0
    to_us: int = FOREVER_US


@dataclass(frozen=True, slots=True)
class WrongTime:
    """Time stamps in the interval are `shift_us` off (ALL_ONES: they are all ones). `call`: nvmlDeviceGetSamples or
    nvmlDeviceGetProcessUtilization."""

    call: str
    shift_us: int
    gpu: int | None = None
    from_us: int = 0
    to_us: int = FOREVER_US


@dataclass(frozen=True, slots=True)
class NvmlScenario:
    """What the library plays, and the truth about it. Truth is exact where steps stand on multiples of `period_us`.

    `now_us`: the library's clock stands still there, for tests that step it by writing again; None: the wall clock.
    """

    gpus: tuple[ScriptedGpu, ...]
    faults: tuple[Fault, ...] = ()
    hangs: tuple[Hang, ...] = ()
    wrong_values: tuple[WrongValue, ...] = ()
    wrong_times: tuple[WrongTime, ...] = ()
    period_us: int = 125_000  # of the utilisation buffer
    now_us: int | None = None

    def write(self, path: Path) -> None:
        """Replace the scenario file in one step; running processes follow at their next call."""
        fresh = path.with_name(path.name + ".new")
        fresh.write_text("".join(f"{line}\n" for line in self._lines()))
        fresh.replace(path)

    def busy_us(self, uuid: str, start_us: int, end_us: int) -> Fraction:
        """Microseconds in which the device was busy."""
        return Fraction(_integral(self._gpu(uuid).steps(), start_us, end_us), 100)

    def process_busy_us(self, uuid: str, pid: int, start_us: int, end_us: int) -> Fraction:
        """Microseconds in which the process kept the device busy."""
        (process,) = (each for each in self._gpu(uuid).processes if each.pid == pid)
        return Fraction(_integral(process.lived(), start_us, end_us), 100)

    def instance_busy_us(self, mig_uuid: str, start_us: int, end_us: int) -> Fraction:
        """Microseconds in which the GPU instance that a MIG device is in was busy: what GPM's graphics figure tells."""
        gpu, mig = next((gpu, mig) for gpu in self.gpus for mig in gpu.mig or () if mig.uuid == mig_uuid)
        inside = {each.uuid for each in gpu.mig or () if each.gpu_instance == mig.gpu_instance}
        lives = [process.lived() for process in gpu.processes if process.mig in inside]
        instants = sorted({step.at_us for life in lives for step in life})
        steps = [Step(at, min(100, sum(_percent_at(life, at) for life in lives))) for at in instants]
        return Fraction(_integral(steps, start_us, end_us), 100)

    def power_mw(self, uuid: str, at_us: int) -> int:
        """What the device draws at an instant."""
        gpu = self._gpu(uuid)
        return _power_mw(gpu, _percent_at(gpu.steps(), at_us))

    def energy_mj(self, uuid: str, at_us: int) -> int:
        """What the device's energy counter reads at an instant."""
        gpu = self._gpu(uuid)
        restarts = [at for at in gpu.energy_restarts_us if gpu.start_us < at <= at_us]
        start_us, base = (max(restarts), 0) if restarts else (gpu.start_us, gpu.energy_mj)
        pieces = _pieces(gpu.steps(), start_us, at_us)
        return base + sum(length_us * _power_mw(gpu, percent) for length_us, percent in pieces) // 1_000_000

    def memory_used_bytes(self, uuid: str, at_us: int) -> int:
        """What its processes hold at an instant, without what the driver reserves."""
        processes = (each for each in self._gpu(uuid).processes if each.from_us <= at_us < each.to_us)
        return sum(each.memory_bytes or 0 for each in processes)

    def _gpu(self, uuid: str) -> ScriptedGpu:
        return next(gpu for gpu in self.gpus if gpu.uuid == uuid)

    def _lines(self) -> Iterator[str]:
        yield f"period_us {self.period_us}"
        if self.now_us is not None:
            yield f"now {self.now_us}"
        for number, gpu in enumerate(self.gpus):
            yield from _gpu_lines(number, gpu)
        for fault in self.faults:
            yield f"fault {_where(fault)} {fault.code} {-1 if fault.times is None else fault.times}"
        for hang in self.hangs:
            yield f"hang {_where(hang)}"
        for value in self.wrong_values:
            yield f"value {_where(value)} {_word(value.value)}"
        for time in self.wrong_times:
            yield f"stamp {_where(time)} {_word(time.shift_us)}"


def skip_reason() -> str:
    """Why the library cannot be built here, as a line that says what to install; "" where it can."""
    if sys.platform != "linux":
        return "the NVML test library needs Linux"
    return "" if shutil.which("gcc") else "the NVML test library needs gcc: apt-get install gcc libc6-dev"


def build(into: Path, without: Sequence[str] = ()) -> Path:
    """Compile the library into a folder, for use as `library_dir`; `without`: symbols that an old driver lacks."""
    symbols = into / "symbols.map"
    local = f"local: {' '.join(f'{name};' for name in without)} " if without else ""
    symbols.write_text(f"{{ global: *; {local}}};\n")
    library = into / "libnvidia-ml.so.1"
    command = ["gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Wno-format-truncation", "-fPIC", "-shared"]
    command += ["-fvisibility=hidden", f"-Wl,--version-script={symbols}", f"-Wl,-soname,{library.name}"]
    subprocess.run([*command, "-o", library, *sorted(SOURCES.glob("*.c")), "-lpthread"], check=True)
    return into


def environment(library_dir: Path, scenario_path: Path) -> dict[str, str]:
    """This process's environment, for a child whose NVML is the library playing that scenario."""
    return {**os.environ, "LD_LIBRARY_PATH": str(library_dir), "GPUTALLY_TEST_NVML": str(scenario_path)}


def call_counts() -> dict[str, int]:
    """How often each NVML call was made by this process, which must be one that runs on the library."""
    text = ctypes.create_string_buffer(8192)
    ctypes.CDLL("libnvidia-ml.so.1").gputally_test_calls(text, len(text))
    return {name: int(count) for name, count in (line.split() for line in text.value.decode().splitlines())}


def held_by_the_library() -> tuple[int, int]:
    """(GPM samples, event sets) that this process, which must be one that runs on the library, has not freed."""
    library = ctypes.CDLL("libnvidia-ml.so.1")
    return library.gputally_test_gpm_samples(), library.gputally_test_event_sets()


def _gpu_lines(number: int, gpu: ScriptedGpu) -> Iterator[str]:
    minor = -1 if gpu.minor is None else gpu.minor
    sizes = f"{gpu.memory_bytes} {gpu.reserved_bytes} {gpu.start_us} {gpu.energy_mj} {gpu.idle_mw} {gpu.full_mw}"
    kind = f"{-1 if gpu.mig is None else 1} {gpu.slices} {int(gpu.gpm)}"
    yield f"gpu {gpu.uuid} {minor} {gpu.pci_bus_id} {sizes} {kind} {gpu.name}"
    yield from (f"busy {number} {step.at_us} {step.percent}" for step in _in_order(gpu.steps()))
    yield from (f"restart {number} {at}" for at in gpu.energy_restarts_us)
    yield from (f"xid {number} {at} {xid}" for at, xid in gpu.xids)
    yield from (f"recovery {number} {at} {action}" for at, action in sorted(gpu.recovery))
    for process in gpu.processes:
        memory = "ones" if process.memory_bytes is None else process.memory_bytes
        yield f"process {number} {process.pid} {process.kinds} {process.from_us} {process.to_us} {memory} {process.mig}"
        steps = _in_order(process.lived())
        yield from (f"process_busy {number} {process.pid} {step.at_us} {step.percent}" for step in steps)
    for place, mig in enumerate(gpu.mig or ()):
        slot = place if mig.slot is None else mig.slot
        ids = f"{slot} {mig.gpu_instance} {mig.compute_instance} {mig.gpu_slices} {mig.compute_slices}"
        rest = f"{mig.memory_mib} {mig.profile_id} {mig.placement_start} {mig.from_us} {mig.to_us}"
        yield f"mig {number} {mig.uuid} {ids} {rest} {mig.name}"


def _in_order(steps: Iterable[Step]) -> list[Step]:
    return sorted(steps, key=lambda step: step.at_us)


def _where(rule: Fault | Hang | WrongValue | WrongTime) -> str:
    return f"{'*' if rule.gpu is None else rule.gpu} {rule.call} {rule.from_us} {rule.to_us}"


def _word(value: int) -> str:
    return "ones" if value == ALL_ONES else str(value)


def _percent_at(steps: Iterable[Step], at_us: int) -> int:
    return max((step for step in steps if step.at_us <= at_us), key=lambda s: s.at_us, default=Step(0, 0)).percent


def _pieces(steps: Sequence[Step], start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """(length, percent) of the pieces of [start_us, end_us)."""
    inner = sorted({step.at_us for step in steps if start_us < step.at_us < end_us})
    edges = [start_us, *inner, end_us] if start_us < end_us else []
    for left_us, right_us in pairwise(edges):
        yield right_us - left_us, _percent_at(steps, left_us)


def _integral(steps: Sequence[Step], start_us: int, end_us: int) -> int:
    return sum(length_us * percent for length_us, percent in _pieces(steps, start_us, end_us))


def _power_mw(gpu: ScriptedGpu, percent: int) -> int:
    return gpu.idle_mw + (gpu.full_mw - gpu.idle_mw) * percent // 100
