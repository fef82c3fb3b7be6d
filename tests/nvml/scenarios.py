"""The two GPUs that most tests on the library look at, and the instants at which they do."""

from typing import Protocol

from tests.nvml.driver import NvmlInChild
from tests.nvml.library import NvmlScenario, ScriptedGpu, Step

SECOND = 1_000_000
PERIOD = 125_000
TIMEOUT = 10  # NVML_ERROR_TIMEOUT: may pass
T0 = 1_800_000_000 * SECOND  # when the GPUs appear
NOW = T0 + 10 * SECOND  # when the driver is opened
GPU = ScriptedGpu("GPU-a", T0, busy=(Step(T0, 40),))
OTHER = ScriptedGpu("GPU-b", T0, busy=(Step(T0, 70),), minor=1, pci_bus_id="00000000:AF:00.0")
ONE = NvmlScenario((GPU,))
TWO = NvmlScenario((GPU, OTHER))


class Play(Protocol):
    """Starts a driver on a scenario."""

    def __call__(self, scenario: NvmlScenario, without: tuple[str, ...] = ()) -> NvmlInChild: ...
