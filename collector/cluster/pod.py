"""A pod as a watch shows it: what says whose work it is, whether it asks for a GPU, and how it lives and ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gputally.accounting.ledger_hour import to_us
from gputally.collector.workloads.pod import LONGEST, PodFacts
from gputally.collector.workloads.read_pod import Wanted, read_pod

_RESOURCES = "nvidia.com/"  # gpu, gpu.shared, mig-1g.10gb …
_ENDED = ("Succeeded", "Failed")
_CONTAINERS = ("initContainers", "containers")
_STATUSES = ("initContainerStatuses", "containerStatuses")


@dataclass(frozen=True, slots=True)
class WatchedPod:
    """Instants are microseconds since the epoch; None is unknown, or has not happened.

    `asks`: for a resource of NVIDIA's, or for devices by a claim, of which the API does not say here what they are.
    """

    facts: PodFacts
    uid: str
    version: int
    created_us: int
    asks: bool
    started_us: int | None = None
    finished_us: int | None = None
    phase: str | None = None
    reason: str | None = None


def watched_pod(raw: Mapping[str, Any], wanted: Wanted) -> WatchedPod | None:
    """The pod of an object of the API; None where it has no name. Raises what reading nonsense raises."""
    facts = read_pod(raw, wanted)
    if facts is None or facts.uid is None:
        return None
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    phase = _text(status.get("phase"))
    return WatchedPod(
        facts,
        facts.uid,
        int(metadata["resourceVersion"]),
        _us(metadata["creationTimestamp"]),
        _asks(spec),
        _us(status["startTime"]) if status.get("startTime") else None,
        max(_ends(status), default=None) if phase in _ENDED else None,
        phase,
        _reason(status),
    )


def _asks(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("resourceClaims")) or any(name.startswith(_RESOURCES) for name in _resources(spec))


def _resources(spec: Mapping[str, Any]) -> Iterator[str]:
    for part in _CONTAINERS:
        for container in spec.get(part) or ():
            given = container.get("resources") or {}
            yield from given.get("limits") or ()
            yield from given.get("requests") or ()


def _terminated(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in _STATUSES:
        for container in status.get(part) or ():
            ended = (container.get("state") or {}).get("terminated")
            if ended:
                yield ended


def _ends(status: Mapping[str, Any]) -> Iterator[int]:
    return (_us(ended["finishedAt"]) for ended in _terminated(status) if ended.get("finishedAt"))


def _reason(status: Mapping[str, Any]) -> str | None:
    """The pod's own reason, such as Evicted; else that of the first container that failed."""
    own = _text(status.get("reason"))
    failed = (ended.get("reason") for ended in _terminated(status) if ended.get("exitCode"))
    return own or _text(next(failed, None))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) <= LONGEST else None


def _us(instant: str) -> int:
    return to_us(datetime.fromisoformat(instant))
