"""What device plugins and the DRA driver call GPUs and their parts, and what the driver shows under those names. Pure.

A name that the driver shows nothing for is not always free of meaning: it may stand for what was not shown yet. Such a
name makes devices suspect, and what seems free on a suspect device must not be called free.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gputally.agent.sample import DeviceInfo, MigInstance

_REPLICA = re.compile(r"(.+)::(\d+)")
_MIG_OF_GPU = re.compile(r"MIG-(GPU-[^/:]+)/(\d+)/(\d+)")
_MIG = re.compile(r"MIG-[^/:]+")
_GPU = re.compile(r"GPU-[^/:]+")
_GKE = re.compile(r"nvidia(\d+)(?:/gi(\d+))?(?:/vgpu(\d+))?")
_DRA_GPU = re.compile(r"gpu-(\d+)")
_DRA_MIG = re.compile(r"gpu-(\d+)-mig-(.+)-(\d+)-(\d+)")
_DRA_PASSED_THROUGH = re.compile(r"gpu-vfio-\d+")


@dataclass(frozen=True, slots=True)
class DeviceName:
    """What a name says: the device by UUID or minor number, the MIG device on it, which replica of either.

    A MIG device is named by its own UUID, by its ids on the device, or by profile and placement; the compute instance
    may be left out. Empty and None: not said.
    """

    uuid: str = ""
    minor: int | None = None
    mig_uuid: str = ""
    gpu_instance: int | None = None
    compute_instance: int | None = None
    profile: str = ""
    profile_id: int | None = None
    placement_start: int | None = None
    replica: str = ""

    @property
    def is_mig(self) -> bool:
        """Whether a part of a device is meant."""
        return bool(self.mig_uuid or self.profile) or (self.gpu_instance, self.profile_id) != (None, None)


@dataclass(frozen=True, slots=True)
class Place:
    """A device by UUID, or a MIG device on it."""

    device: str
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a name points, and the devices that it may mean besides."""

    places: tuple[Place, ...] = ()
    suspects: frozenset[str] = frozenset()


def parse_id(device_id: str) -> DeviceName | None:
    """A device plugin's id (NVIDIA's own, or GKE's, whose number is the minor number); None: of no known shape."""
    if match := _REPLICA.fullmatch(device_id):
        of = parse_id(match[1])
        return replace(of, replica=match[2]) if of and not of.replica else None
    if match := _MIG_OF_GPU.fullmatch(device_id):
        return DeviceName(uuid=match[1], gpu_instance=int(match[2]), compute_instance=int(match[3]))
    if _MIG.fullmatch(device_id):
        return DeviceName(mig_uuid=device_id)
    if _GPU.fullmatch(device_id):
        return DeviceName(uuid=device_id)
    if match := _GKE.fullmatch(device_id):
        instance = int(match[2]) if match[2] else None
        return DeviceName(minor=int(match[1]), gpu_instance=instance, replica=match[3] or "")
    return None


def parse_dra_name(name: str) -> DeviceName | None:
    """A device name of NVIDIA's DRA driver; None: of no known shape.

    Its MIG names end in (profile, profile id, placement start), in older releases in (profile id, start, size).
    """
    if match := _DRA_GPU.fullmatch(name):
        return DeviceName(minor=int(match[1]))
    if match := _DRA_MIG.fullmatch(name):
        minor, profile, second, third = int(match[1]), match[2], int(match[3]), int(match[4])
        if profile.isdecimal():
            return DeviceName(minor=minor, profile_id=int(profile), placement_start=second)
        return DeviceName(minor=minor, profile=profile, profile_id=second, placement_start=third)
    if _DRA_PASSED_THROUGH.fullmatch(name):
        return DeviceName(uuid=name)  # it belongs to a virtual machine: no driver here shows it
    return None


def locate(name: DeviceName | None, devices: Sequence[DeviceInfo]) -> Located:
    """What the driver shows under a name. A UUID that it does not show is none of those that it shows."""
    if name is None:
        return Located(suspects=frozenset(device.uuid for device in devices))
    if name.mig_uuid:
        return _locate_by_uuid(name.mig_uuid, devices)
    device = next((d for d in devices if d.uuid == name.uuid or (not name.uuid and d.minor == name.minor)), None)
    if device is None:
        return Located() if name.uuid else locate(None, devices)
    return _locate_on(device, name) if name.is_mig else Located((Place(device.uuid),))


def _locate_by_uuid(uuid: str, devices: Sequence[DeviceInfo]) -> Located:
    places = tuple(Place(device.uuid, one.uuid) for device in devices for one in device.instances if one.uuid == uuid)
    if places:
        return Located(places)
    return Located(suspects=frozenset(d.uuid for d in devices if d.mig_enabled and not d.instances))


def _locate_on(device: DeviceInfo, name: DeviceName) -> Located:
    """A MIG device by what is said of it. GPU instances that cannot be told apart make the device suspect."""
    found = [one for one in device.instances if _is_meant(one, name)]
    if len({one.gpu_instance for one in found}) > 1 or not device.instances:
        return Located(suspects=frozenset({device.uuid}))
    return Located(tuple(Place(device.uuid, one.uuid) for one in found))


def _is_meant(one: MigInstance, name: DeviceName) -> bool:
    return (
        name.gpu_instance in (None, one.gpu_instance)
        and name.compute_instance in (None, one.compute_instance)
        and (name.placement_start in (None, one.placement_start) or one.placement_start is None)
        and _has_profile(one, name)
    )


def _has_profile(one: MigInstance, name: DeviceName) -> bool:
    """The profile's number says more than its name, which DRA device names spell without dots."""
    if name.profile_id is not None and one.profile_id is not None:
        return name.profile_id == one.profile_id
    return not name.profile or _plain(name.profile) == _plain(one.profile)


def _plain(profile: str) -> str:
    return re.sub(r"[^0-9a-z]", "", profile.lower())
