"""Families of the agent itself: whether each source answers and how fast, what was refused, what waits and was sent."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from gputally.agent.exposition.family import MICRO, PREFIX, Family, by, counter, gauge, one, put
from gputally.agent.sample import CALL_BOUNDS_US, CallTimes
from gputally.agent.snapshot import Snapshot, SpoolState, StreamState


def families_of_itself(snapshot: Snapshot) -> Iterator[Metric]:
    """How the agent is doing; the stream's families have no series where no collector is set."""
    yield from _sampling(snapshot)
    yield from _sources(snapshot)
    yield _calls(snapshot.calls)
    yield from _spool(snapshot.spool)
    yield from _stream(snapshot.stream)


def _sampling(snapshot: Snapshot) -> Iterator[Family]:
    yield one(counter("samples", "Samples of all devices that were taken"), snapshot.samples)
    yield by("rejected_readings", "Readings that were refused at the border", "reason", snapshot.rejected)
    yield one(
        # Seconds like the rest: promtool refuses a name in microseconds. 1 µs is 1e-06, which is still not 0.
        gauge("conservation_error_seconds", "States minus capacity, summed over all windows; must be 0"),
        snapshot.conservation_error_us / MICRO,
    )
    yield one(
        counter("refused_pod_lines", "Lines of pods without a series, because there are too many"),
        snapshot.series_refused,
    )
    yield one(gauge("driver_released", "Whether the driver was let go because somebody asked"), snapshot.released)
    yield one(gauge("ready", "Whether the agent sees all that it needs; /readyz says why not"), not snapshot.not_ready)


def _sources(snapshot: Snapshot) -> Iterator[Family]:
    up = gauge("source_up", "Whether the last reading of a source succeeded", "source")
    duration = gauge(
        "source_duration_seconds",
        "How long the last reading of a source took; absent for watches, which wait to be told",
        "source",
    )
    for source in snapshot.sources:
        put(up, (source.name,), source.up)
        put(duration, (source.name,), source.duration_us, MICRO)
    yield up
    yield duration


def _calls(calls: tuple[CallTimes, ...]) -> Metric:
    family = HistogramMetricFamily(
        f"{PREFIX}nvml_call_duration_seconds", "How long calls of the driver took, by function", labels=("call",)
    )
    bounds = [*(str(us / MICRO) for us in CALL_BOUNDS_US), "+Inf"]
    for times in calls:
        buckets = list(zip(bounds, accumulate(times.counts), strict=True))
        family.add_metric((times.call,), buckets, times.total_us / MICRO)
    return family


def _spool(spool: SpoolState) -> Iterator[Family]:
    yield one(gauge("spool_windows", "Windows that wait for the collector's acknowledgement"), spool.windows)
    yield one(gauge("spool_held_windows", "Windows that wait in memory for a disk that takes nothing"), spool.held)
    yield one(gauge("spool_bytes", "Size of the windows that wait"), spool.bytes)
    oldest = gauge("spool_oldest_timestamp_seconds", "End of the oldest window that waits; absent where none does")
    put(oldest, (), spool.oldest_us, MICRO)
    yield oldest
    yield by("spool_refused_windows", "Windows that the spool could not keep", "reason", spool.refused_windows)
    lost = {reason: us / MICRO for reason, us in spool.refused_capacity_us.items()}
    yield by("spool_refused_gpu_seconds", "GPU time in windows that the spool could not keep", "reason", lost)
    yield one(counter("spool_replaced_files", "Damaged spool files that were moved aside"), spool.corrupted)
    yield one(gauge("spool_up", "Whether the spool's disk takes what is written"), not spool.error)


def _stream(stream: StreamState | None) -> Iterator[Family]:
    refused = stream.refusals if stream else {}
    connected = gauge("stream_connected", "Whether there is a connection to the collector")
    connections = counter("stream_connections", "Connections to the collector that were made")
    batches = counter("stream_sent_batches", "Batches that were sent")
    windows = counter("stream_sent_windows", "Windows that were sent, repetitions included")
    ack = gauge("stream_last_ack_timestamp_seconds", "When the collector last acknowledged anything")
    begin = gauge("certificate_begin_timestamp_seconds", "When the TLS certificate of this process began")
    end = gauge(
        "certificate_end_timestamp_seconds", "When the TLS certificate of this process ends; absent where it has none"
    )
    if stream:
        put(connected, (), stream.connected)
        put(connections, (), stream.connections)
        put(batches, (), stream.batches_sent)
        put(windows, (), stream.windows_sent)
        put(ack, (), stream.last_ack_wall_us, MICRO)
    if stream and stream.certificate:
        put(begin, (), stream.certificate.begins_s)
        put(end, (), stream.certificate.ends_s)
    yield from (connected, connections, batches, windows)
    yield by("stream_refused_windows", "Windows that the collector refused for good", "reason", refused)
    yield from (ack, begin, end)
