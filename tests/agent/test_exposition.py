"""/metrics says what is known in base units, says nothing of what is not, and promtool agrees."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.snapshots import EMPTY, FULL, GIB, GOLDEN, MODEL, golden

from gputally.accounting.states import State
from gputally.agent.exposition.text import families, lines, render
from gputally.agent.snapshot import PodSnapshot, Snapshot, StreamState

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(snapshot: Snapshot) -> Series:
    families = text_string_to_metric_families(render(snapshot).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(snapshot: Snapshot, name: str, **labels: str) -> float | None:
    return series(snapshot).get((f"gputally_{name}", frozenset(labels.items())))


def names(snapshot: Snapshot) -> set[str]:
    return {name for name, _ in series(snapshot)}


DEVICE = {"node": "n1", "uuid": "GPU-1", "model": MODEL}
SLICE = {"node": "n1", "uuid": "GPU-3", "model": "NVIDIA H100", "partition": "MIG-1", "profile": "1g.10gb"}
POD = {"namespace": "team", "pod": "train-0", "container": "main", "uuid": "GPU-1"}
CHAT = {"namespace": "chat", "pod": "server-0", "container": "model", "uuid": "GPU-3", "partition": "MIG-1"}
WHO = {"namespace": "team", "pod": "train-0"}
CALL = {"call": "nvmlDeviceGetPowerUsage"}


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("device_gpu_seconds_total", {**DEVICE, "state": "used"}, 1.5),
        ("device_gpu_seconds_total", {**DEVICE, "state": "idle"}, 0.0),
        ("device_energy_joules_total", DEVICE, 2.5),
        ("device_memory_used_bytes", DEVICE, 0.0),
        ("device_memory_total_bytes", DEVICE, 80.0 * GIB),
        ("device_ghost_memory_bytes", DEVICE, 5.0 * GIB),
        ("device_intruder_memory_bytes", DEVICE, 1.0 * GIB),
        ("device_unreserved_gpu_seconds_total", {**DEVICE, "owner_kind": "host"}, 3.0),
        ("device_intruder_gpu_seconds_total", {**DEVICE, "owner_kind": "pod"}, 0.5),
        ("device_xid_events_total", {**DEVICE, "xid": "31"}, 2.0),
        ("device_available", DEVICE, 1.0),
        ("device_temperature_celsius", DEVICE, 46.0),
        ("device_sm_clock_hertz", DEVICE, 1.98e9),
        ("device_memory_clock_hertz", DEVICE, 2.619e9),
        ("device_clocks_event_reason", {**DEVICE, "reason": "software-thermal-slowdown"}, 1.0),
        ("device_clocks_event_reason", {**DEVICE, "reason": "hardware-slowdown"}, 0.0),
        ("device_clocks_event_reason", {**DEVICE, "reason": "0x10000000000"}, 1.0),
        ("device_activity_ratio", {**DEVICE, "figure": "tensor"}, 0.1),
        ("partition_memory_used_bytes", SLICE, 3.0 * GIB),
        ("partition_utilization_ratio", SLICE, 0.37),
        ("device_utilization_ratio", DEVICE, 0.37),
        ("device_power_watts", DEVICE, 70.125),
        ("pod_gpu_seconds_total", {**POD, "state": "used"}, 1e-06),
        ("pod_energy_joules_total", POD, 0.001),
        ("pod_unreserved_gpu_seconds_total", POD, 0.25),
        ("pod_intruder_gpu_seconds_total", POD, 0.125),
        ("pod_gpu_memory_bytes", POD, 61.0 * GIB),
        ("pod_gpu_memory_bytes", {**POD, "pod": "train-1"}, None),
        ("pod_gpu_share_ratio", CHAT, 1 / 7),
        ("pod_gpu_held_seconds", CHAT, 3600.0),
        ("pod_gpu_idle_spell_seconds", CHAT, 1800.5),
        ("pod_gpu_idle_spell_seconds", {**POD, "partition": "gpu"}, 0.0),
        ("pod_gpu_idle_spell_seconds", {**POD, "pod": "train-1", "partition": "replica"}, None),
        ("pod_info", {**WHO, "workload_kind": "Job", "workload": "train", "idle_alert": "off"}, 1.0),
        ("pod_start_timestamp_seconds", WHO, 1.7e9),
        ("pod_start_timestamp_seconds", {"namespace": "chat", "pod": "server-0"}, None),
        ("nvml_call_duration_seconds_bucket", {**CALL, "le": "0.001"}, 4.0),
        ("nvml_call_duration_seconds_bucket", {**CALL, "le": "+Inf"}, 5.0),
        ("nvml_call_duration_seconds_count", CALL, 5.0),
        ("nvml_call_duration_seconds_sum", CALL, 2.0004),
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
    assert value(FULL, "device_utilization_ratio", node="n1", uuid="GPU-3", model="NVIDIA H100") is None
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


@pytest.mark.parametrize("name", sorted(golden()))
def test_the_whole_text_is_as_it_was_agreed(name: str) -> None:
    """Names, labels, types and help that others rely on; a wanted change is written by python -m tests.snapshots."""
    assert golden()[name].decode() == (GOLDEN / name).read_text()


def test_every_family_stands_there_from_the_start_and_its_samples_are_known_in_full() -> None:
    """docs/metrics.md is made of the empty ones, so none may come only with a value."""
    assert [family.name for family in families(EMPTY)] == [family.name for family in families(FULL)]
    assert [family.name for family in families(FULL) if not family.samples] == []


def test_families_of_devices_and_of_pods_have_no_name_in_common() -> None:
    """A sum over one name must not count the same time twice."""
    about = [family.name.split("_")[1] for family in families(FULL)]
    assert {"device", "pod", "partition"} <= set(about)
    assert len({family.name for family in families(FULL)}) == len(about)


class Families:
    """What prometheus-client's own writer asks for."""

    def __init__(self, *found: Metric) -> None:
        self._found = found

    def collect(self) -> tuple[Metric, ...]:
        return self._found


@pytest.mark.parametrize("snapshot", [FULL, EMPTY], ids=["full", "empty"])
def test_the_text_is_byte_for_byte_that_of_prometheus_client(snapshot: Snapshot) -> None:
    assert render(snapshot) == generate_latest(Families(*families(snapshot)))


@given(st.text(max_size=8), st.text(max_size=8), st.floats())
def test_so_it_is_whatever_stands_in_labels_help_and_values(text: str, label: str, number: float) -> None:
    gauge = GaugeMetricFamily("a_seconds", text or "b", labels=("z", "b"))
    gauge.add_metric((label, "x"), number)
    gauge.add_metric(("x", label), number)
    found = gauge, CounterMetricFamily("c_bytes", "d", value=number)
    assert "".join(lines(found)) == generate_latest(Families(*found)).decode()
