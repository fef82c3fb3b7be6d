"""MIG through NVML: which MIG devices a GPU has now, and how many compute slices it could have in all.

A MIG device is a compute instance in a GPU instance. Its handle dies with it, and the same handle value may then mean
another one: only the UUID says which it is.
"""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pynvml

from gputally.agent.nvml.errors import Code
from gputally.agent.nvml.handle import Handle
from gputally.agent.nvml.processes import Roster
from gputally.agent.sample import MigInstance

_GAP = frozenset({Code.NOT_FOUND, Code.INVALID_ARGUMENT})  # no MIG device at this index, or no longer
_NO_PROFILE = frozenset({Code.NOT_SUPPORTED, Code.INVALID_ARGUMENT})  # of this GPU; of this driver
_PROFILE = re.compile(r"(?:\d+c\.)?\d+g\.\d+gb(?:[+-][\w.+-]+)?", re.IGNORECASE)
_EIGHTHS = 8  # memory of a GPU is cut into eighths, of which a profile's name counts whole ones


@dataclass(slots=True, kw_only=True)
class Instance(Handle):
    """A MIG device. `alone`: no other one shares its GPU instance, so what that one measures is this one's."""

    STALE: ClassVar[frozenset[int]] = _GAP

    info: MigInstance
    alone: bool = True
    roster: Roster = field(default_factory=Roster)


def instances(parent: Any) -> list[Instance]:
    """The MIG devices of a GPU by (GPU instance, compute instance); indices have gaps. Raises NVMLError."""
    count = pynvml.nvmlDeviceGetMaxMigDeviceCount(parent)
    found = [each for index in range(count) if (each := _at(parent, index)) is not None]
    homes = [each.info.gpu_instance for each in found]
    for each in found:
        each.alone = homes.count(each.info.gpu_instance) == 1
    return sorted(found, key=lambda each: (each.info.gpu_instance, each.info.compute_instance))


def whole_slices(parent: Any) -> int | None:
    """Compute slices of the whole GPU: those of the largest GPU instance that it offers.

    nvmlDeviceGetGpuInstanceProfileInfo tells a profile's slices for every profile the GPU has, whether or not there is
    room for one now, and refuses the others. The largest is the full GPU: 7 on A100, H100, H200 and B200, 4 on A30.
    Raises NVMLError.
    """
    return max(_profile_slices(parent, profile) for profile in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT)) or None


def is_still(instance: Instance) -> bool:
    """Whether the handle still means the MIG device that it was taken for; raises as `Handle.ask` does."""
    uuid = instance.ask("nvmlDeviceGetUUID", pynvml.nvmlDeviceGetUUID)
    return uuid is None or uuid == instance.info.uuid


def _at(parent: Any, index: int) -> Instance | None:
    try:
        raw = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(parent, index)
        uuid = pynvml.nvmlDeviceGetUUID(raw)
        gpu_instance = pynvml.nvmlDeviceGetGpuInstanceId(raw)
        compute_instance = pynvml.nvmlDeviceGetComputeInstanceId(raw)
    except pynvml.NVMLError as error:
        if error.value in _GAP:
            return None
        raise
    attributes = Handle(raw).ask("nvmlDeviceGetAttributes_v2", pynvml.nvmlDeviceGetAttributes_v2)
    slices = attributes.computeInstanceSliceCount or None if attributes else None
    profile = _named_profile(raw) or (_computed_profile(parent, attributes) if attributes else "")
    placement = _placement(parent, gpu_instance)
    return Instance(raw, info=MigInstance(uuid, gpu_instance, compute_instance, slices, profile, *placement))


def _profile_slices(parent: Any, profile: int) -> int:
    try:
        return int(pynvml.nvmlDeviceGetGpuInstanceProfileInfo(parent, profile, version=1).sliceCount)
    except pynvml.NVMLError as error:
        if error.value in _NO_PROFILE:
            return 0
        raise  # a profile that could not be asked for might be the largest


def _placement(parent: Any, gpu_instance: int) -> tuple[int | None, int | None]:
    """(profile id, first slice) of a GPU instance; not known to a process without the rights to manage MIG."""
    try:
        info = pynvml.nvmlGpuInstanceGetInfo(pynvml.nvmlDeviceGetGpuInstanceById(parent, gpu_instance))
    except pynvml.NVMLError:
        return None, None
    return info.profileId, info.placement.start


def _named_profile(raw: Any) -> str:
    """As in the MIG device's name, such as `NVIDIA A100-SXM4-40GB MIG 1g.5gb`; "" where none is in it."""
    name = Handle(raw).ask("nvmlDeviceGetName", pynvml.nvmlDeviceGetName) or ""
    named = _PROFILE.findall(name.rpartition("MIG ")[2])
    return str(named[-1]) if named else ""


def _computed_profile(parent: Any, attributes: Any) -> str:
    found = Handle(parent).ask("nvmlDeviceGetMemoryInfo", pynvml.nvmlDeviceGetMemoryInfo)
    return profile_of(attributes, found.total) if found and found.total else ""


def profile_of(attributes: Any, whole_bytes: int) -> str:
    """The profile's name by its slices, and its memory rounded to whole eighths of the GPU's."""
    whole_gib = -(-whole_bytes // 1024**3)
    eighths = -(-attributes.memorySizeMB * 1024**2 * _EIGHTHS // whole_bytes)
    size = f"{attributes.gpuInstanceSliceCount}g.{round(whole_gib * eighths / _EIGHTHS)}gb"
    part = attributes.computeInstanceSliceCount
    return size if part == attributes.gpuInstanceSliceCount else f"{part}c.{size}"
