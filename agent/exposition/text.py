"""/metrics: the last snapshot as Prometheus text. It never asks the driver, and what is not known has no series.

Families are made anew from each snapshot, so the series of a pod that is gone disappear with it. Floats appear here
and nowhere before: seconds and joules from integer microseconds and millijoules.
"""

from collections.abc import Iterable, Iterator

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from gputally.agent.dcgm_names import dcgm_families
from gputally.agent.exposition.device import device_families, partition_families
from gputally.agent.exposition.itself import families_of_itself
from gputally.agent.exposition.pod import pod_families
from gputally.agent.snapshot import Snapshot

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_TYPES = {"unknown": "untyped"}  # as this format calls it


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every family under its own name, also those without a series now."""
    yield from device_families(snapshot)
    yield from partition_families(snapshot)
    yield from pod_families(snapshot)
    yield from families_of_itself(snapshot)


def render(snapshot: Snapshot, *, dcgm_names: bool = False) -> bytes:
    """The snapshot in Prometheus' text format; `dcgm_names`: with what DCGM would call its values, too."""
    found = [*families(snapshot), *(dcgm_families(snapshot) if dcgm_names else ())]
    return "".join(lines(found)).encode()


def lines(found: Iterable[Metric]) -> Iterator[str]:
    """The families as text, byte for byte as `generate_latest` writes it, in a third of its time.

    It looks at each sample for what no family here has: names in quotes, times, exemplars. And many samples have the
    same labels, which are made into text once.
    """
    texts: dict[tuple[tuple[str, str], ...], str] = {}
    for family in found:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"# HELP {name} {_escaped(family.documentation)}\n# TYPE {name} {_TYPES.get(family.type, family.type)}\n"
        for sample in family.samples:
            labels = tuple(sample.labels.items())
            text = texts.get(labels)
            if text is None:
                text = texts[labels] = _labels(labels)
            number = floatToGoString(sample.value)  # type: ignore[no-untyped-call]  # the package's own has no types
            yield f"{sample.name}{text} {number}\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    quoted = (f'{name}="{_quoted(value)}"' for name, value in sorted(labels))
    return f"{{{','.join(quoted)}}}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
