"""/metrics: the last snapshot as Prometheus text. It never asks the driver, and what is not known has no series.

Families are made anew from each snapshot, so the series of a pod that is gone disappear with it. Floats appear here
and nowhere before: seconds and joules from integer microseconds and millijoules.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gputally.agent.snapshot import DeviceSnapshot, PodSnapshot, Snapshot, StreamState

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily
_POD_LABELS = ("namespace", "pod", "container", "uuid")


def render(snapshot: Snapshot) -> bytes:
    """The snapshot in Prometheus' text format."""
    return generate_latest(_Families(snapshot))


class _Families(Collector):
    """What prometheus-client asks for: something with the families of one moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _device_counters(self._snapshot)
        yield from _device_gauges(self._snapshot)
        yield from _pod_counters(self._snapshot.pods)
        yield from _sampling(self._snapshot)
        yield from _spool(self._snapshot)
        if self._snapshot.stream:
            yield from _stream(self._snapshot.stream)


def _device_counters(snapshot: Snapshot) -> Iterator[_Family]:
    time = _counter("device_gpu_seconds", "Time of a device in each state", "node", "uuid", "model", "state")
    energy = _counter("device_energy_joules", "Energy that a device drew", "node", "uuid", "model")
    for device in snapshot.devices:
        labels = (snapshot.node, device.uuid, device.model)
        for state, us in device.time_us.items():
            time.add_metric((*labels, state.value), us / 1e6)
        if device.energy_mj is not None:
            energy.add_metric(labels, device.energy_mj / 1e3)
    yield time
    yield energy


def _device_gauges(snapshot: Snapshot) -> Iterator[_Family]:
    devices = snapshot.devices
    memory = ((device, device.memory_used_bytes, 1) for device in devices)
    busy = ((device, device.utilization_percent, 100) for device in devices)
    power = ((device, device.power_mw, 1000) for device in devices)
    ghosts = ((device, device.ghost_memory_bytes, 1) for device in devices)
    yield _device_gauge(snapshot.node, "memory_used_bytes", "Memory in use on a device", memory)
    yield _device_gauge(snapshot.node, "ghost_memory_bytes", "Memory that processes which are gone still hold", ghosts)
    yield _device_gauge(snapshot.node, "utilization_ratio", "Share of time in which a kernel was executing", busy)
    yield _device_gauge(snapshot.node, "power_watts", "Power that a device draws", power)


def _device_gauge(
    node: str, name: str, text: str, values: Iterable[tuple[DeviceSnapshot, int | None, int]]
) -> GaugeMetricFamily:
    gauge = _gauge(f"device_{name}", f"{text}, at the last sample", "node", "uuid", "model")
    for device, value, divisor in values:
        if value is not None:
            gauge.add_metric((node, device.uuid, device.model), value / divisor)
    return gauge


def _pod_counters(pods: Iterable[PodSnapshot]) -> Iterator[_Family]:
    time = _counter("pod_gpu_seconds", "Time that a container held or used a device, by state", *_POD_LABELS, "state")
    energy = _counter("pod_energy_joules", "Energy that a container is charged for", *_POD_LABELS)
    for pod in pods:
        labels = (pod.namespace, pod.pod, pod.container, pod.uuid)
        for state, us in pod.time_us.items():
            time.add_metric((*labels, state.value), us / 1e6)
        if pod.energy_mj is not None:
            energy.add_metric(labels, pod.energy_mj / 1e3)
    yield time
    yield energy


def _sampling(snapshot: Snapshot) -> Iterator[_Family]:
    yield _one(_counter("samples", "Samples of all devices that were taken"), snapshot.samples)
    yield _by("rejected_readings", "Readings that were refused at the border", "reason", snapshot.rejected)
    up = _gauge("source_up", "Whether the last reading of a source succeeded", "source")
    duration = _gauge("source_duration_seconds", "How long the last reading of a source took", "source")
    for source in snapshot.sources:
        up.add_metric((source.name,), source.up)
        if source.duration_us is not None:
            duration.add_metric((source.name,), source.duration_us / 1e6)
    yield up
    yield duration
    yield _one(
        # Seconds like the rest: promtool refuses a name in microseconds. 1 µs is 1e-06, which is still not 0.
        _gauge("conservation_error_seconds", "States minus capacity, summed over all windows; must be 0"),
        snapshot.conservation_error_us / 1e6,
    )
    yield _one(
        _counter("refused_pod_lines", "Lines of pods without a series, because there are too many"),
        snapshot.series_refused,
    )
    yield _one(_gauge("driver_released", "Whether the driver was let go because somebody asked"), snapshot.released)
    yield _one(
        _gauge("ready", "Whether the agent sees all that it needs; /readyz says why not"), not snapshot.not_ready
    )


def _spool(snapshot: Snapshot) -> Iterator[_Family]:
    spool = snapshot.spool
    yield _one(_gauge("spool_windows", "Windows that wait for the collector's acknowledgement"), spool.windows)
    yield _one(_gauge("spool_held_windows", "Windows that wait in memory for a disk that takes nothing"), spool.held)
    yield _one(_gauge("spool_bytes", "Size of the windows that wait"), spool.bytes)
    oldest = _gauge("spool_oldest_timestamp_seconds", "End of the oldest window that waits")
    yield oldest if spool.oldest_us is None else _one(oldest, spool.oldest_us / 1e6)
    yield _by("spool_refused_windows", "Windows that the spool could not keep", "reason", spool.refused_windows)
    lost = {reason: us / 1e6 for reason, us in spool.refused_capacity_us.items()}
    yield _by("spool_refused_gpu_seconds", "GPU time in windows that the spool could not keep", "reason", lost)
    yield _one(_counter("spool_replaced_files", "Damaged spool files that were moved aside"), spool.corrupted)
    yield _one(_gauge("spool_up", "Whether the spool's disk takes what is written"), not spool.error)


def _stream(stream: StreamState) -> Iterator[_Family]:
    yield _one(_gauge("stream_connected", "Whether there is a connection to the collector"), stream.connected)
    yield _one(_counter("stream_connections", "Connections to the collector that were made"), stream.connections)
    yield _one(_counter("stream_sent_batches", "Batches that were sent"), stream.batches_sent)
    yield _one(_counter("stream_sent_windows", "Windows that were sent, repetitions included"), stream.windows_sent)
    yield _by("stream_refused_windows", "Windows that the collector refused for good", "reason", stream.refusals)
    ack = _gauge("stream_last_ack_timestamp_seconds", "When the collector last acknowledged anything")
    yield ack if stream.last_ack_wall_us is None else _one(ack, stream.last_ack_wall_us / 1e6)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"gputally_{name}", text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"gputally_{name}", text, labels=labels)


def _one(family: _Family, value: float) -> _Family:
    family.add_metric((), value)
    return family


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    family = _counter(name, text, label)
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family
