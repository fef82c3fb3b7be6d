"""How long each container has held a partition without using it: finished windows folded into idle spells.

A spell is unbroken measured time with utilisation below 1 %. A window is judged as a whole, so a spell is known to
within one window. Activity, the end of the reservation, or more than 120 s that were not measured end it; shorter ones
do not, and are not counted in: a restart of the agent is one of them, so spells can be written down and read again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, OwnerKind

LONGEST_DARK_US = 120_000_000
_ACTIVE_PERCENT = 1

_Key = tuple[str, str, str, str]  # namespace, pod, container, partition


@dataclass(frozen=True, slots=True)
class IdleSpell:
    """A container on a partition at the end of the last window; `share` of the device, in (0, 1].

    `spell_us`: 0 while it is active, None while that is not known. `held_us`: how long it was seen to hold it.
    """

    namespace: str
    pod: str
    container: str
    uuid: str
    partition: str
    share: Fraction
    spell_us: int | None
    held_us: int


@dataclass(frozen=True, slots=True)
class _Spell:
    """`idle_us`: as `spell_us`. `dark_us`: at most so much of the time up to `end_us` was not measured."""

    owner: Owner
    share: Fraction
    idle_us: Fraction | None
    dark_us: Fraction
    held_us: Fraction
    end_us: int


@dataclass(frozen=True, slots=True)
class _Held:
    """What a window says of one holding: time that was used, idle, and held in all, of the whole partition."""

    used_us: Fraction
    idle_us: Fraction
    held_us: Fraction

    @property
    def measured_us(self) -> Fraction:
        return self.used_us + self.idle_us

    @property
    def is_active(self) -> bool:
        return self.measured_us > 0 and 100 * self.used_us >= _ACTIVE_PERCENT * self.measured_us


class IdleSpells:
    """The spells of a node. One thread writes and reads it; times are the windows' own."""

    def __init__(self) -> None:
        self._devices: dict[str, dict[_Key, _Spell]] = {}

    @staticmethod
    def of_json(text: str) -> "IdleSpells":
        """The spells that `to_json` wrote, fractions of a microsecond left out; raises ValueError where it did not."""
        spells = IdleSpells()
        try:
            for uuid, partition, names, *values in json.loads(text):
                spell = _spell(names, *values)
                key = (spell.owner.namespace, spell.owner.pod, spell.owner.container, str(partition))
                spells._devices.setdefault(str(uuid), {})[key] = spell
        except (TypeError, ZeroDivisionError) as error:
            raise ValueError(f"these are no idle spells: {error}") from error
        return spells

    def to_json(self) -> str:
        """Everything that the next agent of this node needs to go on."""
        rows = (
            (uuid, key[3], (*key[:3], spell.owner.pod_uid), *_values(spell))
            for uuid, spells in self._devices.items()
            for key, spell in spells.items()
        )
        return json.dumps(list(rows))

    def fold(self, windows: Iterable[Window]) -> None:
        """Add finished windows, in their order."""
        for window in windows:
            for device in window.devices:
                start_us = window.end_us - device.capacity_us - window.skipped_us
                before = self._devices.get(device.uuid, {})
                self._devices[device.uuid] = _fold(before, device, start_us, window.end_us)
            self._devices = {uuid: kept for uuid, kept in self._devices.items() if _is_current(kept, window.end_us)}

    def now(self) -> tuple[IdleSpell, ...]:
        """Everything that was held at the end of the last window."""
        return tuple(
            IdleSpell(
                namespace,
                pod,
                container,
                uuid,
                partition,
                spell.share,
                None if spell.idle_us is None else int(spell.idle_us),
                int(spell.held_us),
            )
            for uuid, spells in sorted(self._devices.items())
            for (namespace, pod, container, partition), spell in sorted(spells.items())
        )


def _values(spell: _Spell) -> tuple[str, int | None, int, int, int]:
    idle_us = None if spell.idle_us is None else int(spell.idle_us)
    return (str(spell.share), idle_us, int(spell.dark_us), int(spell.held_us), spell.end_us)


def _spell(names: Iterable[str], share: str, idle_us: int | None, dark_us: int, held_us: int, end_us: int) -> _Spell:
    namespace, pod, container, uid = map(str, names)
    owner = Owner(OwnerKind.POD, namespace, pod, container, uid)
    idle = None if idle_us is None else Fraction(idle_us)
    return _Spell(owner, Fraction(share), idle, Fraction(dark_us), Fraction(held_us), int(end_us))


def _is_current(spells: Mapping[_Key, _Spell], now_us: int) -> bool:
    """Not so of a device that no window tells of any more."""
    return any(now_us - spell.end_us <= LONGEST_DARK_US for spell in spells.values())


def _fold(before: Mapping[_Key, _Spell], device: DeviceWindow, start_us: int, end_us: int) -> dict[_Key, _Spell]:
    """What is held at the window's end; who is not there any more has no spell."""
    spells = {}
    for holding in device.end_holders:
        owner = holding.owner
        if owner.kind is OwnerKind.POD:
            key = (owner.namespace, owner.pod, owner.container, holding.partition)
            last = before.get(key)
            if last is None or not _is_same(last.owner, owner):
                last = _Spell(owner, holding.share, None, Fraction(0), Fraction(0), start_us)
            spells[key] = _continued(last, holding, _held(device, holding), start_us, end_us)
    return spells


def _continued(last: _Spell, holding: Holding, held: _Held, start_us: int, end_us: int) -> _Spell:
    gap_us = max(0, start_us - last.end_us)
    here_us = held.held_us - held.measured_us
    dark_us = last.dark_us + gap_us + here_us
    idle_us = last.idle_us if dark_us <= LONGEST_DARK_US else None
    if held.measured_us:
        idle_us = Fraction(0) if held.is_active else (idle_us or 0) + held.measured_us
        dark_us = here_us
    return _Spell(holding.owner, holding.share, idle_us, dark_us, last.held_us + held.held_us, end_us)


def _held(device: DeviceWindow, holding: Holding) -> _Held:
    lines = [line for line in device.lines if _is_of(line, holding)]
    used_us = sum(line.used_us for line in lines) / holding.share
    idle_us = sum(line.idle_us for line in lines) / holding.share
    seen_us = sum(line.capacity_us for line in lines) / holding.share
    throughout = any(
        _is_same(one.owner, holding.owner) and one.partition == holding.partition for one in device.start_holders
    )
    capacity_us = Fraction(device.capacity_us)
    return _Held(used_us, idle_us, max(used_us + idle_us, capacity_us if throughout else min(seen_us, capacity_us)))


def _is_of(line: Line, holding: Holding) -> bool:
    key = line.key
    return key.basis is Basis.RESERVATION and key.partition == holding.partition and _is_same(key.owner, holding.owner)


def _is_same(one: Owner, other: Owner) -> bool:
    """A pod's UID may be learned after its reservation; another UID is another pod."""
    names = [(owner.kind, owner.namespace, owner.pod, owner.container) for owner in (one, other)]
    return names[0] == names[1] and ("" in (one.pod_uid, other.pod_uid) or one.pod_uid == other.pod_uid)
