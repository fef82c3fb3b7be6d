"""The MIG devices of one GPU over time: when each was busy, through every re-partitioning."""

from collections import Counter, deque
from collections.abc import Sequence

from gputally.accounting.settlement import Coverage
from gputally.accounting.stretch import Figures
from gputally.agent.attribution.busy import Piece
from gputally.agent.attribution.instance_busy import InstanceBusyTrack
from gputally.agent.attribution.quality import QualityTrack
from gputally.agent.clock import Instant
from gputally.agent.sample import DeviceInfo, InstanceReading, MigInstance

_FOREVER = 1 << 62


class Instances:
    """What is known of each MIG device; those that are gone stay until their time was accounted for."""

    def __init__(self, interval_us: int) -> None:
        self._interval_us = interval_us
        self._epoch: dict[MigInstance, InstanceBusyTrack] = {}
        self._pieces: dict[str, deque[Piece]] = {}
        self._quality: dict[str, QualityTrack] = {}

    @property
    def known_us(self) -> int:
        """Up to when all of them are known."""
        return min((track.known_us for track in self._epoch.values()), default=_FOREVER)

    def repartition(self, now_us: int, info: DeviceInfo) -> None:
        """The GPU has these MIG devices from now on. An average that spans the change of one is thrown away."""
        self.give_up(now_us, now_us, hold=True)
        in_gpu_instance = Counter(each.gpu_instance for each in info.instances)
        before, self._epoch = self._epoch, {}
        for each in info.instances:
            alone = in_gpu_instance[each.gpu_instance] == 1
            track = before.get(each)
            if track is None or track.alone is not alone:
                track = InstanceBusyTrack(now_us, self._interval_us, alone=alone)
            self._epoch[each] = track
            self._pieces.setdefault(each.uuid, deque())
            self._quality.setdefault(each.uuid, QualityTrack())

    def observe(self, instant: Instant, readings: Sequence[InstanceReading]) -> None:
        """Take the readings of one tick."""
        told = {reading.uuid: reading for reading in readings}
        for each, track in self._epoch.items():
            if reading := told.get(each.uuid):
                self._pieces[each.uuid] += track.extend(instant.us, reading, instant.offset_us)
                self._quality[each.uuid].observe(reading.gpm if track.alone else None, instant.offset_us)

    def give_up(self, until_us: int, silent_us: int, *, hold: bool) -> None:
        """No more will be learned of the time up to `until_us`: see `BusyTrack.give_up`."""
        for each, track in self._epoch.items():
            self._pieces[each.uuid] += track.give_up(until_us, silent_us, hold=hold)

    def piece(self, uuid: str, us: int) -> Piece:
        """The piece that covers the time just after `us`; nothing is known of a MIG device that was not there."""
        pieces = self._pieces.get(uuid, deque())
        while pieces and pieces[0].end_us <= us:
            pieces.popleft()
        if pieces and pieces[0].start_us <= us:
            return pieces[0]
        return Piece(us, pieces[0].start_us if pieces else _FOREVER, 0, Coverage.NO_UTILISATION)

    def quality(self, uuid: str, start_us: int, end_us: int) -> Figures | None:
        """One MIG device's figures of quality over (start_us, end_us]."""
        track = self._quality.get(uuid)
        return track.between(start_us, end_us) if track else None

    def forget(self, before_us: int) -> None:
        """Drop what lies before an instant that was accounted for."""
        here = {each.uuid for each in self._epoch}
        for uuid, pieces in list(self._pieces.items()):
            self._quality[uuid].forget(before_us)
            while pieces and pieces[0].end_us <= before_us:
                pieces.popleft()
            if not pieces and uuid not in here:
                del self._pieces[uuid], self._quality[uuid]
