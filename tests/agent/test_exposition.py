"""/metrics says what is known in base units, says nothing of what is not, and promtool agrees."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from gputally.accounting.states import State
from gputally.agent.exposition import render
from gputally.agent.snapshot import DeviceSnapshot, PodSnapshot, Snapshot, SourceState, SpoolState, StreamState

FULL = Snapshot(
    node="n1",
    devices=(
        DeviceSnapshot(
            "GPU-1",
            'NVIDIA "H100"',
            {State.USED: 1_500_000, State.IDLE: 0},
            energy_mj=2500,
            memory_used_bytes=0,
            utilization_percent=37,
            power_mw=70_125,
            ghost_memory_bytes=5 << 30,
        ),
        DeviceSnapshot("GPU-2", "NVIDIA H100"),
    ),
    pods=(PodSnapshot("team", "train-0", "main", "GPU-1", {State.USED: 1}, 1),),
    samples=12,
    rejected={"over-100": 2},
    sources=(SourceState("nvml", True, 1500), SourceState("kubelet", False)),
    spool=SpoolState(3, 4096, 1_700_000_000_500_000, {"full": 1}, {"full": 60_000_000}, 1, "disk full", 6),
    stream=StreamState(True, True, 5, 1_700_000_000_000_000, "", 2, 7, 70, {"clock": 1}),
    conservation_error_us=3,
    series_refused=4,
    released=True,
    not_ready=("the kubelet does not answer",),
)
EMPTY = Snapshot("n1")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(snapshot: Snapshot) -> Series:
    families = text_string_to_metric_families(render(snapshot).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    return series(snapshot).get((f"gputally_{name}", frozenset(labels.items())))


def names(snapshot: Snapshot) -> set[str]:
    return {name for name, _ in series(snapshot)}


DEVICE = {"node": "n1", "uuid": "GPU-1", "model": 'NVIDIA "H100"'}
POD = {"namespace": "team", "pod": "train-0", "container": "main", "uuid": "GPU-1"}


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("device_gpu_seconds_total", {**DEVICE, "state": "used"}, 1.5),
        ("device_gpu_seconds_total", {**DEVICE, "state": "idle"}, 0.0),
        ("device_energy_joules_total", DEVICE, 2.5),
        ("device_memory_used_bytes", DEVICE, 0.0),
        ("device_ghost_memory_bytes", DEVICE, float(5 << 30)),
        ("device_utilization_ratio", DEVICE, 0.37),
        ("device_power_watts", DEVICE, 70.125),
        ("pod_gpu_seconds_total", {**POD, "state": "used"}, 1e-06),
        ("pod_energy_joules_total", POD, 0.001),
        ("conservation_error_seconds", {}, 3e-06),
        ("samples_total", {}, 12.0),
        ("rejected_readings_total", {"reason": "over-100"}, 2.0),
        ("refused_pod_lines_total", {}, 4.0),
        ("source_up", {"source": "nvml"}, 1.0),
        ("source_up", {"source": "kubelet"}, 0.0),
        ("source_duration_seconds", {"source": "nvml"}, 0.0015),
        ("source_duration_seconds", {"source": "kubelet"}, None),
        ("driver_released", {}, 1.0),
        ("ready", {}, 0.0),
        ("spool_windows", {}, 3.0),
        ("spool_held_windows", {}, 6.0),
        ("spool_bytes", {}, 4096.0),
        ("spool_oldest_timestamp_seconds", {}, 1_700_000_000.5),
        ("spool_refused_windows_total", {"reason": "full"}, 1.0),
        ("spool_refused_gpu_seconds_total", {"reason": "full"}, 60.0),
        ("spool_replaced_files_total", {}, 1.0),
        ("spool_up", {}, 0.0),
        ("stream_connected", {}, 1.0),
        ("stream_connections_total", {}, 2.0),
        ("stream_sent_batches_total", {}, 7.0),
        ("stream_sent_windows_total", {}, 70.0),
        ("stream_refused_windows_total", {"reason": "clock"}, 1.0),
        ("stream_last_ack_timestamp_seconds", {}, 1_700_000_000.0),
    ],
)
def test_each_value_in_base_units_under_its_name(name: str, labels: dict[str, str], expected: float | None) -> None:
    """Names and labels that dashboards and rules rely on."""
    assert value(FULL, name, **labels) == expected


def test_what_is_not_known_has_no_series() -> None:
    """The second device was never read: nothing of it is 0, it is absent."""
    assert not [labels for _, labels in series(FULL) if ("uuid", "GPU-2") in labels]
    assert not [name for name in names(EMPTY) if "device" in name or "pod_gpu" in name or "stream" in name]
    assert value(EMPTY, "spool_oldest_timestamp_seconds") is None
    never = Snapshot("n1", stream=StreamState(running=True))
    assert value(never, "stream_last_ack_timestamp_seconds") is None
    assert value(never, "stream_connected") == 0.0


def test_the_series_of_a_pod_that_is_gone_disappear() -> None:
    """Nothing is kept from one snapshot to the next."""
    render(FULL)
    assert value(EMPTY, "pod_gpu_seconds_total", **POD, state="used") is None
    assert value(EMPTY, "ready") == 1.0


@given(st.integers(0, 10**17))
def test_a_counter_keeps_every_microsecond_that_a_float_can_hold(us: int) -> None:
    """Read back and multiplied out it is the integer again, up to 2^53 us (285 years)."""
    us = min(us, 2**52)
    pod = PodSnapshot("team", "train-0", "main", "GPU-1", {State.USED: us})
    seconds = value(Snapshot("n1", pods=(pod,)), "pod_gpu_seconds_total", **POD, state="used")
    assert seconds is not None
    assert round(seconds * 1e6) == us


@pytest.mark.parametrize("snapshot", [FULL, EMPTY], ids=["full", "empty"])
def test_promtool_finds_nothing_to_complain_about(snapshot: Snapshot) -> None:
    """Names, units, help texts and syntax, by Prometheus' own linter."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is missing; install it with: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=render(snapshot), capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
