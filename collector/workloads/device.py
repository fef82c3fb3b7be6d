"""What GPU Feature Discovery says of a node's GPUs, from the labels that it writes on the node.

Source: NVIDIA/k8s-device-plugin, docs/gpu-feature-discovery/README.md (Generated Labels).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PREFIX = "nvidia.com/"
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_MIG_COUNT = re.compile(r"nvidia\.com/mig-([0-9]{1,2}g\.[0-9]{1,4}gb[a-z0-9.+-]{0,32})\.count", re.ASCII)
_SUFFIX = re.compile(r"(?:-SHARED|-MIG-[0-9]{1,2}g\.[0-9]{1,4}gb[a-z0-9.+-]{0,32})+", re.ASCII)
_MOST_PROFILES = 64
_LONGEST = 63  # characters: Kubernetes' limit for a label


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """The GPUs of one node; None is unknown, and "none" is what the labels say where nothing is shared.

    With the MIG strategy `single`, `product`, `count` and `memory_mib` are those of the instances. `mig_counts`: each
    profile with its number of instances, with the strategy `mixed`. `replicas`: how often a shared one is offered.
    """

    product: str | None = None
    family: str | None = None
    count: int | None = None
    memory_mib: int | None = None
    mig_capable: bool | None = None
    mig_strategy: str | None = None
    sharing_strategy: str | None = None
    replicas: int | None = None
    mig_counts: tuple[tuple[str, int], ...] = ()

    @property
    def model(self) -> str | None:
        """The product without what sharing and MIG have added to its name."""
        if self.product is None:
            return None
        found = re.search(rf"{_SUFFIX.pattern}$", self.product)
        return self.product[: found.start()] or None if found else self.product


def device_facts(labels: Mapping[str, str]) -> DeviceFacts:
    """What the labels of a node say; a value that cannot be one is unknown."""
    return DeviceFacts(
        _text(labels, "gpu.product"),
        _text(labels, "gpu.family"),
        _number(labels, "gpu.count"),
        _number(labels, "gpu.memory"),
        {"true": True, "false": False}.get(labels.get(f"{_PREFIX}mig.capable", "")),
        _text(labels, "mig.strategy"),
        _text(labels, "gpu.sharing-strategy"),
        _number(labels, "gpu.replicas"),
        _mig_counts(labels),
    )


def _text(labels: Mapping[str, str], name: str) -> str | None:
    text = labels.get(f"{_PREFIX}{name}", "")
    return text if 0 < len(text) <= _LONGEST and text.isprintable() else None


def _number(labels: Mapping[str, str], name: str) -> int | None:
    text = labels.get(f"{_PREFIX}{name}", "")
    return int(text) if _NUMBER.fullmatch(text) else None


def _mig_counts(labels: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    profiles = sorted(found.group(1) for name in labels if (found := _MIG_COUNT.fullmatch(name)))
    counts = ((profile, _number(labels, f"mig-{profile}.count")) for profile in profiles[:_MOST_PROFILES])
    return tuple((profile, count) for profile, count in counts if count is not None)
