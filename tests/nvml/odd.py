"""Odd GPUs and bad days, as scripted scenarios: each takes a scenario and gives one in which GPU 0 has that trouble."""

from dataclasses import replace

from tests.nvml.library import Fault, NvmlScenario

from gputally.agent.nvml.errors import Code

FELL_OFF_THE_BUS = 79  # Xid


def without(scenario: NvmlScenario, *calls: str) -> NvmlScenario:
    """GPU 0 refuses these calls for good."""
    refusals = tuple(Fault(Code.NOT_SUPPORTED, call, gpu=0) for call in calls)
    return replace(scenario, faults=(*scenario.faults, *refusals))


def without_process_utilization(scenario: NvmlScenario) -> NvmlScenario:
    """As in many virtual machines, and before Maxwell."""
    return without(scenario, "nvmlDeviceGetProcessUtilization")


def without_energy_counter(scenario: NvmlScenario) -> NvmlScenario:
    """As before Volta: the power it draws now is all that is known."""
    return without(scenario, "nvmlDeviceGetTotalEnergyConsumption")


def like_a_tegra(scenario: NvmlScenario) -> NvmlScenario:
    """A GPU in a system on a chip: memory is the system's, power is not told, nor are processes apart."""
    return without(
        without_process_utilization(without_energy_counter(scenario)),
        *("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetPowerUsage"),
        *("nvmlDeviceGetGraphicsRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses"),
    )


def off_the_bus(scenario: NvmlScenario, from_us: int, to_us: int) -> NvmlScenario:
    """GPU 0 says its last word, an Xid, and every call to it fails until it returns; its energy counter goes on."""
    gpu = replace(scenario.gpus[0], xids=(*scenario.gpus[0].xids, (from_us, FELL_OFF_THE_BUS)))
    lost = Fault(Code.GPU_IS_LOST, gpu=0, from_us=from_us, to_us=to_us)
    return replace(scenario, gpus=(gpu, *scenario.gpus[1:]), faults=(*scenario.faults, lost))


def driver_upgrade(scenario: NvmlScenario, from_us: int, to_us: int) -> NvmlScenario:
    """The kernel module is exchanged under the library. Counters and buffers begin again with the new one."""
    gone = Fault(Code.LIB_RM_VERSION_MISMATCH, from_us=from_us, to_us=to_us)
    restarted = tuple(replace(gpu, energy_restarts_us=(*gpu.energy_restarts_us, to_us)) for gpu in scenario.gpus)
    return replace(scenario, gpus=restarted, faults=(*scenario.faults, gone))
