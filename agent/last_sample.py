"""What the last samples say of each device: values of now, beside the counters that grow.

Costly values come with every few samples only, GPM's figures with some; they stand until the next, as long as the
device answers.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from gputally.accounting.keys import Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.attribution.process_track import Owners
from gputally.agent.held import Held
from gputally.agent.resident import Resident, resident
from gputally.agent.sample import (
    DeviceInfo,
    DeviceSample,
    GpmReading,
    InstanceReading,
    ProcessReading,
    Reading,
    Sample,
)
from gputally.agent.snapshot import DeviceSnapshot, PartitionSnapshot, Place

STALE_US = 30_000_000  # GPM's figures come at least every five seconds; older ones tell of another time


class LastSample:
    """One thread writes and reads it. `owners` tells whose a process is."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self.forget()

    def forget(self) -> None:
        """Nothing is known of now."""
        self._devices: dict[str, DeviceSample] = {}
        self._details: dict[str, ProcessReading] = {}
        self._residents: dict[str, Resident] = {}
        self._held: dict[str, Held] = {}
        self._listed_held: dict[str, Held] = {}  # as it was when processes were listed
        self._quality: dict[str, GpmReading] = {}

    @property
    def models(self) -> dict[str, str]:
        """The models of the devices that the last sample has."""
        return {uuid: device.info.model for uuid, device in self._devices.items()}

    def take(self, sample: Sample, held: Callable[[str], Held]) -> None:
        """From now on this is the last sample."""
        self._devices = {device.info.uuid: device for device in sample.devices}
        self._held = {uuid: held(uuid) for uuid in self._devices}
        self._quality = {
            uuid: gpm for uuid, gpm in self._quality.items() if sample.wall_us - gpm.end_us <= STALE_US
        } | dict(_qualities(sample))
        if sample.full:
            details = {uuid: device.detail for uuid, device in self._devices.items()}
            self._details = {uuid: detail for uuid, detail in details.items() if detail}
            self._residents, self._listed_held = {}, self._held

    def complete(self, counted: DeviceSnapshot) -> DeviceSnapshot:
        """The snapshot with what is known of the device now."""
        device = self._devices.get(counted.uuid)
        if device is None:
            return counted
        if device.reading is None:
            return replace(counted, info=device.info, available=False if device.unavailable else None)
        detail = self._details.get(counted.uuid)
        return replace(
            counted,
            info=device.info,
            available=True,
            reading=device.reading,
            vitals=detail.vitals if detail else None,
            quality=self._quality.get(counted.uuid),
            ghost_memory_bytes=detail.ghost_memory_bytes if detail else None,
            intruder_memory_bytes=self._resident(counted.uuid).intruder_bytes if detail else None,
            place=_place(self._held[counted.uuid]) if not device.info.mig_enabled else None,
            partitions=tuple(self._partitions(device.info, device.reading)),
        )

    def memory(self) -> Iterator[tuple[str, Owner, int]]:
        """(device, owner, bytes) of what is known of devices that answer."""
        for uuid in self._details:
            device = self._devices.get(uuid)
            if device and device.reading:
                found = self._resident(uuid).by_owner
                yield from ((uuid, owner, held) for owner, held in found.items() if held is not None)

    def _resident(self, uuid: str) -> Resident:
        """Whose memory is on a device with a process list, worked out when somebody asks: most lists nobody asks of."""
        found = self._residents.get(uuid)
        if found is None:
            found = self._residents[uuid] = resident(self._details[uuid], self._listed_held[uuid], self._owners)
        return found

    def _partitions(self, info: DeviceInfo, reading: Reading) -> Iterator[PartitionSnapshot]:
        held = self._held[info.uuid]
        readings = {each.uuid: each for each in reading.instances}
        for instance in info.instances:
            found = readings.get(instance.uuid) or InstanceReading(instance.uuid)
            place = _place(held.part(instance.uuid)) if held.known and held.instances else None
            yield PartitionSnapshot(
                instance, found.memory_used_bytes, found.memory_total_bytes, self._quality.get(instance.uuid), place
            )


def _qualities(sample: Sample) -> Iterator[tuple[str, GpmReading]]:
    for device in sample.devices:
        if device.reading and device.reading.gpm:
            yield device.info.uuid, device.reading.gpm
        for instance in device.reading.instances if device.reading else ():
            if instance.gpm:
                yield instance.uuid, instance.gpm


def _place(held: Held) -> Place | None:
    """Its only holder, if that is one container."""
    if len(held.holdings) != 1 or held.holdings[0].share != 1:
        return None
    holding = held.holdings[0]
    owners = holding.containers or (holding.owner,)
    owner = owners[0]
    alone = len(owners) == 1 and owner.kind is OwnerKind.POD
    return Place(owner.namespace, owner.pod, owner.container) if alone else None
