"""What a node's DRA drivers announce: ResourceSlices, which tell the UUID of a device that a claim names.

Parsing keeps the few fields that placement needs, from v1, v1beta2 and v1beta1 alike. The table is written by one
thread and read by any.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gputally.agent.reservations.device_id import DeviceName, parse_dra_name

DRIVER = "gpu.nvidia.com"
MAX_SLICES = 1024  # a slice names up to 128 devices; a node's pool is a few slices


@dataclass(frozen=True, slots=True, order=True)
class DraDevice:
    """A device as claims name it: nothing but all three together tells devices apart."""

    driver: str
    pool: str
    name: str


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a slice says of a device. A MIG device that does not exist yet has no UUID, only a parent and a profile."""

    uuid: str = ""
    parent_uuid: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """One ResourceSlice. Of a pool, only the slices of the newest generation are valid."""

    uid: str
    driver: str
    pool: str
    generation: int
    devices: Mapping[str, Attributes]


def parse_slice(raw: Mapping[str, Any]) -> Slice:
    """The fields that placement needs. Raises KeyError without identity."""
    spec, pool = raw["spec"], raw["spec"]["pool"]
    driver = spec["driver"]
    devices = {device["name"]: _attributes(device, driver) for device in spec.get("devices") or ()}
    return Slice(raw["metadata"]["uid"], driver, pool["name"], int(pool.get("generation") or 0), devices)


def _attributes(device: Mapping[str, Any], driver: str) -> Attributes:
    given = (device.get("basic") or device).get("attributes") or {}  # v1beta1 wraps them

    def text(name: str) -> str:
        value = given.get(name) or given.get(f"{driver}/{name}") or {}
        return str(value.get("string") or "")

    return Attributes(text("uuid"), text("parentUUID"), text("profile"))


class SliceTable:
    """The slices of this node. One thread writes; any thread reads. `refused` counts those beyond MAX_SLICES."""

    def __init__(self) -> None:
        self._slices: dict[str, Slice] = {}
        self._attributes: Mapping[DraDevice, Attributes] = {}
        self.refused = 0

    def replace(self, slices: Iterable[Slice], _now_us: int) -> None:
        """Take over a complete list."""
        self._slices = {}
        for each in slices:
            self._keep(each)
        self._index()

    def put(self, each: Slice, _now_us: int) -> None:
        """Take over a new or changed slice."""
        self._keep(each)
        self._index()

    def delete(self, each: Slice, _now_us: int) -> None:
        """Take over that a slice is gone."""
        self._slices.pop(each.uid, None)
        self._index()

    def name_of(self, device: DraDevice) -> DeviceName | None:
        """What is known of a device: its UUID where a slice tells, else what its name says; None: nothing."""
        by_name = parse_dra_name(device.name)
        said = self._attributes.get(device, Attributes())
        if said.uuid.startswith("MIG-"):
            return DeviceName(mig_uuid=said.uuid)
        if said.uuid:
            return DeviceName(uuid=said.uuid)
        if said.parent_uuid and (by_name or said.profile):
            return replace(by_name or DeviceName(profile=said.profile), uuid=said.parent_uuid)
        return by_name

    def _keep(self, each: Slice) -> None:
        if each.uid in self._slices or len(self._slices) < MAX_SLICES:
            self._slices[each.uid] = each
        else:
            self.refused += 1

    def _index(self) -> None:
        newest: dict[tuple[str, str], int] = {}
        for each in self._slices.values():
            pool = (each.driver, each.pool)
            newest[pool] = max(each.generation, newest.get(pool, 0))
        self._attributes = {
            DraDevice(each.driver, each.pool, name): attributes
            for each in self._slices.values()
            if each.generation == newest[each.driver, each.pool]
            for name, attributes in each.devices.items()
        }
