"""A queue's quota of GPUs, read from the objects of Kueue and Volcano. Pure.

Sources: Kueue's apis/kueue/v1beta1 and v1beta2 (clusterqueue_types.go, localqueue_types.go; the newer one calls the
cohort `cohortName`), Volcano's pkg/apis/scheduling/v1beta1 (types.go). Two platforms, one vocabulary: `nominal` is
what a queue has by itself, `guaranteed` the part of it that it never lends, `most` what it may hold with what it
borrows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from math import ceil
from typing import Any

from gputally.accounting.ledger_hour import to_us
from gputally.collector.workloads.pod import LONGEST

WHOLE = "nvidia.com/gpu"  # the one resource whose unit is a GPU: what is compared with the time of whole GPUs

_SHARED = "nvidia.com/gpu.shared"
_MIG = "nvidia.com/mig-"
_QUANTITY = re.compile(r"\+?(\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})(?:[eE]([+-]?\d{1,2})|([numkKMGTPE]i?))?", re.ASCII)
_THOUSANDS = dict(zip("numkMGTPE", (-3, -2, -1, 1, 2, 3, 4, 5, 6), strict=True))
_SUFFIXES: Mapping[str, Fraction] = {
    **{suffix: Fraction(1000) ** power for suffix, power in _THOUSANDS.items()},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_MOST = 10**9  # GPUs: more is a way to say "no limit", or nonsense

Object = Mapping[str, Any]


class System(StrEnum):
    """Whose queue it is."""

    KUEUE = "kueue"
    VOLCANO = "volcano"


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one resource and flavor, in its units; None is unknown, but of `most` none: there is no limit.

    `reserved` is what the platform itself said that the queue holds, `borrowed` the part of it above `nominal`.
    """

    resource: str
    flavor: str = ""
    nominal: int | None = None
    guaranteed: int | None = None
    most: int | None = None
    reserved: int | None = None
    borrowed: int | None = None


@dataclass(frozen=True, slots=True)
class SeenQueue:
    """A queue of the whole cluster as the API showed it at `version`; of its quotas only those of GPUs.

    `cohort` is whom it borrows from: of Volcano the parent. None: nobody.
    """

    system: System
    name: str
    uid: str
    created_us: int
    version: int
    cohort: str | None
    quotas: tuple[Quota, ...]


@dataclass(frozen=True, slots=True)
class SeenLocalQueue:
    """A namespace's way into a queue of Kueue's."""

    namespace: str
    name: str
    uid: str
    created_us: int
    version: int
    cluster_queue: str


def read_cluster_queue(raw: Object) -> SeenQueue:
    """Kueue's ClusterQueue; raises what reading nonsense raises."""
    spec = raw.get("spec") or {}
    cohort = _name(spec.get("cohortName") or spec.get("cohort"))
    told = _told((raw.get("status") or {}).get("flavorsReservation") or ())
    quotas = tuple(_flavor_quota(*each, cohort=cohort, told=told) for each in _given(spec))
    return SeenQueue(System.KUEUE, *_identity(raw), cohort, quotas)


def read_volcano_queue(raw: Object) -> SeenQueue:
    """Volcano's Queue; raises what reading nonsense raises."""
    spec = raw.get("spec") or {}
    nominal, most = spec.get("deserved") or {}, spec.get("capability") or {}
    guaranteed = (spec.get("guarantee") or {}).get("resource") or {}
    held = (raw.get("status") or {}).get("allocated") or {}
    lists = (nominal, guaranteed, most, held)
    resources = sorted({name for each in (nominal, guaranteed, most) for name in each if is_gpu(name)})
    quotas = tuple(Quota(name, "", *(amount(each.get(name)) for each in lists)) for name in resources)
    return SeenQueue(System.VOLCANO, *_identity(raw), _name(spec.get("parent")), quotas)


def read_local_queue(raw: Object) -> SeenLocalQueue:
    """Kueue's LocalQueue; raises what reading nonsense raises."""
    return SeenLocalQueue(raw["metadata"]["namespace"], *_identity(raw), str(raw["spec"]["clusterQueue"]))


def is_gpu(resource: str) -> bool:
    """Whether a resource is GPUs, shares of GPUs, or MIG instances."""
    return resource in (WHOLE, _SHARED) or resource.startswith(_MIG)


def amount(quantity: object) -> int | None:
    """A quantity as Kubernetes writes it, in whole units rounded up, as Kueue does it; None where it is none."""
    if isinstance(quantity, bool) or not isinstance(quantity, int | str):
        return None
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None or (match[3] and match[3] not in _SUFFIXES):
        return None
    exponent = Fraction(10) ** int(match[2]) if match[2] else Fraction(1)
    found = ceil(Fraction(match[1]) * exponent * _SUFFIXES.get(match[3], Fraction(1)))
    return found if found <= _MOST else None


def _identity(raw: Object) -> tuple[str, str, int, int]:
    metadata = raw["metadata"]
    created_us = to_us(datetime.fromisoformat(metadata["creationTimestamp"]))
    return metadata["name"], metadata["uid"], created_us, int(metadata["resourceVersion"])


def _given(spec: Object) -> Iterator[tuple[str, Object]]:
    """Each flavor's name with what it says of a GPU resource."""
    for group in spec.get("resourceGroups") or ():
        for flavor in group.get("flavors") or ():
            yield from ((flavor["name"], each) for each in flavor.get("resources") or () if is_gpu(each["name"]))


def _told(flavors: Sequence[Object]) -> Mapping[tuple[str, str], Object]:
    """What the platform says of each flavor and resource now."""
    return {(flavor["name"], each["name"]): each for flavor in flavors for each in flavor.get("resources") or ()}


def _flavor_quota(flavor: str, given: Object, *, cohort: str | None, told: Mapping[tuple[str, str], Object]) -> Quota:
    nominal = amount(given.get("nominalQuota"))
    lends, borrows = amount(given.get("lendingLimit")), amount(given.get("borrowingLimit"))
    now = told.get((flavor, given["name"]), {})
    alone = cohort is None
    return Quota(
        given["name"],
        flavor,
        nominal,
        nominal if alone else None if nominal is None or lends is None else max(0, nominal - lends),
        nominal if alone else None if nominal is None or borrows is None else nominal + borrows,
        amount(now.get("total")),
        amount(now.get("borrowed", 0)) if now else None,
    )


def _name(given: object) -> str | None:
    return given if isinstance(given, str) and given.isprintable() and 0 < len(given) <= LONGEST else None
