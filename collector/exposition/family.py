"""How a family of one sample is made."""

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

PREFIX = "gputally_"


def counter(name: str, text: str, value: float) -> CounterMetricFamily:
    """A counter; `_total` is appended to its name."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge."""
    return GaugeMetricFamily(PREFIX + name, text, value=value)
