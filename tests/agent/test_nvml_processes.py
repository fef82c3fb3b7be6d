"""The real `Nvml` on the test library: process lists and process utilisation."""

from dataclasses import replace

import pytest
from tests.nvml.driver import NvmlInChild
from tests.nvml.library import ALL_ONES, Fault, NvmlScenario, ScriptedGpu, ScriptedProcess, Step, WrongTime, WrongValue
from tests.nvml.scenarios import GPU, NOW, ONE, OTHER, SECOND, T0, Play

from gputally.agent.nvml.errors import Code
from gputally.agent.sample import GpuProcess, ProcessBusy, ProcessKind

pytest_plugins = ["tests.nvml.fixtures"]


def steps_of_processes(gpu: ScriptedGpu, *processes: ScriptedProcess) -> NvmlScenario:
    """A GPU that is exactly as busy as its processes make it."""
    return NvmlScenario((replace(gpu, busy=None, processes=processes),))


# ---- processes ----


def test_a_process_on_several_lists_is_one_with_its_largest_memory(play: Play) -> None:
    processes = (
        ScriptedProcess(1, 10, kinds="cg"),
        ScriptedProcess(2, 20, kinds="g"),
        ScriptedProcess(3, 30, kinds="c"),
        ScriptedProcess(3, 40, kinds="m"),
        ScriptedProcess(4, None, kinds="c"),
    )
    reading = play(steps_of_processes(GPU, *processes)).read_processes("GPU-a")
    assert sorted(reading.processes or (), key=lambda each: each.pid) == [
        GpuProcess(1, ProcessKind.COMPUTE, 10),
        GpuProcess(2, ProcessKind.GRAPHICS, 20),
        GpuProcess(3, ProcessKind.MPS, 40),
        GpuProcess(4, ProcessKind.COMPUTE, None),
    ]


def test_pid_zero_is_refused(play: Play) -> None:
    reading = play(steps_of_processes(GPU, ScriptedProcess(0), ScriptedProcess(5))).read_processes("GPU-a")
    assert [each.pid for each in reading.processes or ()] == [5]
    assert reading.rejected == {"pid-zero": 1}


def test_no_process_is_an_empty_list_not_an_unknown_one(play: Play) -> None:
    reading = play(ONE).read_processes("GPU-a")
    assert (reading.processes, reading.busy) == ((), ())


def test_a_list_longer_than_the_array_is_complete(play: Play) -> None:
    crowd = tuple(ScriptedProcess(pid, pid) for pid in range(1, 3001))
    reading = play(steps_of_processes(GPU, *crowd)).read_processes("GPU-a")
    assert {each.pid: each.memory_bytes for each in reading.processes or ()} == {pid: pid for pid in range(1, 3001)}


def test_an_older_version_of_the_lists_will_do(play: Play) -> None:
    without = tuple(f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in ("Compute", "Graphics", "MPSCompute"))
    driver = play(steps_of_processes(GPU, ScriptedProcess(1, 10)), without)
    assert driver.read_processes("GPU-a").processes == (GpuProcess(1, ProcessKind.COMPUTE, 10),)


@pytest.mark.parametrize("how", ["symbol", "refused", "denied", "busy"])
def test_lists_that_cannot_be_read_are_unknown_never_empty(play: Play, how: str) -> None:
    name = "nvmlDeviceGetComputeRunningProcesses"
    code = {"refused": Code.NOT_SUPPORTED, "denied": Code.NO_PERMISSION, "busy": 19}.get(how)
    without = (f"{name}_v3", f"{name}_v2") if how == "symbol" else ()
    scenario = steps_of_processes(GPU, ScriptedProcess(1))
    driver = play(replace(scenario, faults=(Fault(code, name),) if code else ()), without)
    assert driver.read_processes("GPU-a").processes is None


def test_a_graphics_list_that_the_device_does_not_have_is_no_loss_but_one_that_failed_is(play: Play) -> None:
    scenario = steps_of_processes(GPU, ScriptedProcess(1, 10))
    driver = play(replace(scenario, faults=(Fault(999, "nvmlDeviceGetGraphicsRunningProcesses"),)))
    assert driver.read_processes("GPU-a").processes is None
    driver.play(replace(scenario, faults=(Fault(Code.NOT_SUPPORTED, "nvmlDeviceGetGraphicsRunningProcesses"),)))
    assert driver.read_processes("GPU-a").processes == (GpuProcess(1, ProcessKind.COMPUTE, 10),)


# ---- when the lists are read ----


def lists_read(driver: NvmlInChild, seconds: float) -> list[str]:
    """Which lists a tick with processes reads at that time, a letter each."""
    driver.at(NOW + round(seconds * SECOND))
    before = driver.calls()
    driver.read("GPU-a")
    driver.read_processes("GPU-a")
    names = {"Compute": "c", "Graphics": "g", "MPSCompute": "m"}
    made = {letter: f"nvmlDeviceGet{kind}RunningProcesses" for kind, letter in names.items()}
    return [letter for letter, name in made.items() for _ in range(driver.calls().get(name, 0) - before.get(name, 0))]


def test_lists_are_read_when_the_memory_in_use_has_changed_and_now_and_then(play: Play) -> None:
    stays, comes = ScriptedProcess(1), ScriptedProcess(2, from_us=NOW + 11 * SECOND, to_us=NOW + 21 * SECOND)
    driver = play(steps_of_processes(GPU, stays, comes))
    assert [lists_read(driver, each) for each in (0, 5, 10)] == [["c", "g", "m"], [], []]
    assert [lists_read(driver, each) for each in (15, 20)] == [["c", "g", "m"], []]
    assert [each.pid for each in driver.read_processes("GPU-a").processes or ()] == [1, 2]
    assert [lists_read(driver, each) for each in (25, 30)] == [["c", "g", "m"], []]
    assert [each.pid for each in driver.read_processes("GPU-a").processes or ()] == [1]
    assert lists_read(driver, 56) == ["c", "g", "m"]


def test_where_only_the_memory_of_the_same_processes_changes_their_list_is_enough(play: Play) -> None:
    driver = play(steps_of_processes(GPU, ScriptedProcess(1, 10)))
    lists_read(driver, 0)
    driver.play(steps_of_processes(GPU, ScriptedProcess(1, 20)))
    assert lists_read(driver, 5) == ["c"]
    assert driver.read_processes("GPU-a").processes == (GpuProcess(1, ProcessKind.COMPUTE, 20),)


def test_a_list_that_has_somebody_is_read_as_often_as_that_of_compute_processes(play: Play) -> None:
    """MPS ends when its list is empty, which must not be noticed late."""
    driver = play(steps_of_processes(GPU, ScriptedProcess(1, 10, kinds="cm")))
    lists_read(driver, 0)
    driver.play(steps_of_processes(GPU, ScriptedProcess(1, 20)))
    assert lists_read(driver, 5) == ["c", "m"]
    assert driver.read_processes("GPU-a").processes == (GpuProcess(1, ProcessKind.COMPUTE, 20),)


@pytest.mark.parametrize("kind", ["m", "g"])
def test_whoever_comes_to_another_list_only_is_noticed_by_the_memory_in_use(play: Play, kind: str) -> None:
    """The first client of an MPS server, though the compute processes are the same: its mode and clients are known."""
    server, comes = ScriptedProcess(1), ScriptedProcess(2, kinds=kind, from_us=NOW + SECOND)
    driver = play(steps_of_processes(GPU, server, comes))
    assert [lists_read(driver, each) for each in (0, 5, 10)] == [["c", "g", "m"], ["c", "g", "m"], []]
    assert [each.pid for each in driver.read_processes("GPU-a").processes or ()] == [1, 2]


def test_lists_are_read_each_time_where_no_memory_can_tell_of_a_change(play: Play) -> None:
    driver = play(steps_of_processes(GPU, ScriptedProcess(1, None)))
    assert [lists_read(driver, each) for each in (0, 5)] == [["c", "g", "m"], ["c"]]


def test_work_of_a_process_that_is_on_no_list_has_them_read_at_once(play: Play) -> None:
    """It came and another one went, with the same memory."""
    came, went = (ScriptedProcess(pid, 10, (Step(T0, 40),)) for pid in (2, 1))
    driver = play(steps_of_processes(GPU, replace(went, to_us=NOW + SECOND), replace(came, from_us=NOW + SECOND)))
    lists_read(driver, 0)
    assert lists_read(driver, 5) == ["c", "g", "m"]
    assert [each.pid for each in driver.read_processes("GPU-a").processes or ()] == [2]


# ---- process utilisation ----

BUSY_PAIR = steps_of_processes(
    GPU,
    ScriptedProcess(1, busy=(Step(T0, 60), Step(NOW, 20))),
    ScriptedProcess(2, busy=(Step(T0, 0), Step(NOW + 5 * SECOND, 50))),
)


def test_process_utilisation_covers_the_time_since_the_query_before(play: Play) -> None:
    driver = play(BUSY_PAIR)
    assert driver.read_processes("GPU-a").busy == (ProcessBusy(1, 60),)
    driver.at(NOW + 5 * SECOND)
    assert driver.read_processes("GPU-a").busy == (ProcessBusy(1, 20),)
    driver.at(NOW + 10 * SECOND)
    assert driver.read_processes("GPU-a").busy == (ProcessBusy(1, 20), ProcessBusy(2, 50))


def test_an_idle_time_between_two_queries_is_not_averaged_into_the_next(play: Play) -> None:
    late = ScriptedProcess(1, busy=(Step(NOW + 5 * SECOND, 80),))
    driver = play(steps_of_processes(GPU, late))
    for seconds in (0, 5):
        driver.at(NOW + seconds * SECOND)
        driver.read("GPU-a")
        assert driver.read_processes("GPU-a").busy == ()
    driver.at(NOW + 10 * SECOND)
    driver.read("GPU-a")
    assert driver.read_processes("GPU-a").busy == (ProcessBusy(1, 80),)


def test_asked_too_soon_no_process_was_busy(play: Play) -> None:
    driver = play(BUSY_PAIR)
    driver.read_processes("GPU-a")
    assert driver.read_processes("GPU-a").busy == ()


def test_process_utilisation_has_a_cursor_per_device(play: Play) -> None:
    other = replace(OTHER, busy=None, processes=(ScriptedProcess(9, busy=(Step(T0, 10), Step(NOW, 30))),))
    driver = play(NvmlScenario((*BUSY_PAIR.gpus, other)))
    driver.read_processes("GPU-a")
    driver.at(NOW + 5 * SECOND)
    driver.read_processes("GPU-a")
    assert driver.read_processes("GPU-b").busy == (ProcessBusy(9, 30),)


@pytest.mark.parametrize(
    ("value", "reason"), [(101, "process-utilization-out-of-range"), (ALL_ONES, "process-utilization-sentinel")]
)
def test_an_impossible_process_utilisation_is_refused(play: Play, value: int, reason: str) -> None:
    wrong = WrongValue("nvmlDeviceGetProcessUtilization", value)
    reading = play(replace(BUSY_PAIR, wrong_values=(wrong,))).read_processes("GPU-a")
    assert (reading.busy, reading.rejected) == ((), {reason: 1})


@pytest.mark.parametrize(
    ("shift_us", "reason"),
    [(-60 * SECOND, "process-utilization-time-stale"), (ALL_ONES, "process-utilization-time-ahead")],
)
def test_a_process_record_with_an_impossible_time_is_refused(play: Play, shift_us: int, reason: str) -> None:
    driver = play(replace(BUSY_PAIR, wrong_times=(WrongTime("nvmlDeviceGetProcessUtilization", shift_us),)))
    reading = driver.read_processes("GPU-a")
    assert (reading.busy, reading.rejected) == ((), {reason: 1})
    driver.play(BUSY_PAIR)
    assert driver.read_processes("GPU-a").busy == (ProcessBusy(1, 60),)


@pytest.mark.parametrize("how", ["symbol", "refused", "failed"])
def test_process_utilisation_that_cannot_be_read_is_unknown(play: Play, how: str) -> None:
    name = "nvmlDeviceGetProcessUtilization"
    code = {"refused": Code.NOT_SUPPORTED, "failed": 999}.get(how)
    driver = play(replace(BUSY_PAIR, faults=(Fault(code, name),) if code else ()), (name,) if how == "symbol" else ())
    reading = driver.read_processes("GPU-a")
    assert reading.busy is None
    assert [each.pid for each in reading.processes or ()] == [1, 2]
