"""A real agent on the test library: what Prometheus gets of it, and that its linter has nothing to say."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agents import A, B, get, two_gpus, wait_ready
from tests.programs import wait_until

pytest_plugins = ["tests.nvml.fixtures"]


def test_an_agent_shows_its_devices_under_both_names_and_promtool_agrees(
    tmp_path: Path, built: Callable[[tuple[str, ...]], Path]
) -> None:
    node = two_gpus(tmp_path, built(()))
    with node.agent("--dcgm-names") as agent:
        port = wait_ready(agent)
        text = wait_until(lambda: _with_time(get(port, "/metrics")[1]), 60, "the first window")
    native, dcgm, rest = text.partition("# HELP DCGM_")
    assert f'gputally_device_temperature_celsius{{model="NVIDIA H100 80GB HBM3",node="n",uuid="{A}"}} 46.0' in native
    assert f'reason="gpu-idle",uuid="{B}"}} 1.0' in native
    assert 'gputally_nvml_call_duration_seconds_count{call="nvmlDeviceGetPowerUsage"}' in native
    assert f'DCGM_FI_DEV_GPU_UTIL{{Hostname="n",UUID="{A}",device="nvidia0",gpu="0",hostname="n"' in dcgm + rest
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing; install it with: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=native, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def _with_time(text: str) -> str:
    ready = "gputally_device_gpu_seconds_total{" in text and "gputally_nvml_call_duration_seconds_count{" in text
    return text if ready else ""
