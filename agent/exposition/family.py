"""How a family is made: the prefix, base units, and what is not known left out."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily
PREFIX = "gputally_"
MICRO = 1_000_000


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """A counter without samples; `_total` is appended to its name."""
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """A gauge without samples."""
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def put(family: Family, labels: Sequence[str], value: float | None, divisor: int = 1) -> None:
    """Add a sample; what is not known has none."""
    if value is not None:
        family.add_metric(labels, value / divisor)


def one(family: Family, value: float) -> Family:
    """A family with one sample, which has no labels."""
    family.add_metric((), value)
    return family


def by(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """A counter with a sample for each value of one label."""
    family = counter(name, text, label)
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family
