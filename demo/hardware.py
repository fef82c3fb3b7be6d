"""Whether this machine has GPUs of its own that NVML answers for."""

from gputally.agent.nvml.driver import Nvml
from gputally.agent.probe.main import wall_us
from gputally.agent.probe.sampler import DriverError


def has_gpus() -> bool:
    """True where a driver answers and shows at least one device; the driver is let go again."""
    driver = Nvml(wall_us)
    try:
        driver.open()
        return bool(driver.devices())
    except DriverError:
        return False
    finally:
        driver.close()
