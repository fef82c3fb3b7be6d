"""An idle spell is unbroken measured time with utilisation below 1 %, of one container on one partition."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import Holding, LineKey, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.accounting.states import Basis, OwnerKind, Source
from gputally.agent.idle_spell import IdleSpell, IdleSpells

S = 1_000_000
MINUTE = 60 * S
OWNER = Owner(OwnerKind.POD, "team", "train", "main", "uid-1")
OTHER = replace(OWNER, pod="other", pod_uid="uid-2")


class Node:
    """Windows of one device, one after the other."""

    def __init__(self) -> None:
        self.spells = IdleSpells()
        self.now_us = 0

    def add(
        self,
        used_us: int = 0,
        idle_us: int = 0,
        dark_us: int = 0,
        *,
        length_us: int = MINUTE,
        start: Sequence[Owner] = (OWNER,),
        end: Sequence[Owner] = (OWNER,),
        share: Fraction = Fraction(1),
        partition: str = "gpu",
        uuid: str = "GPU-1",
    ) -> int | None:
        """A window in which the first holder used, did not use, or could not be seen; its spell after that."""
        owner = (*end, *start, OWNER)[0]
        key = LineKey(partition, owner, Basis.RESERVATION)
        line = Line(key, Source.DEVICE_SAMPLES, used_us, idle_us, unobserved_us=dark_us)
        held = [tuple(Holding(each, partition, share) for each in owners) for owners in (start, end)]
        device = DeviceWindow(uuid, "H100", length_us, (line,), start_holders=held[0], end_holders=held[1])
        self.spells.fold([Window("c", "n", self.now_us, self.now_us + length_us, (device,))])
        self.now_us += length_us
        return next((each.spell_us for each in self.spells.now() if each.uuid == uuid), None)

    @property
    def found(self) -> IdleSpell:
        (found,) = self.spells.now()
        return found

    def idle(self, minutes: int) -> int | None:
        return [self.add(idle_us=MINUTE) for _ in range(minutes)][-1]


def test_a_spell_is_the_time_since_the_last_activity() -> None:
    node = Node()
    assert node.idle(3) == 3 * MINUTE
    assert node.add(used_us=MINUTE) == 0
    assert node.idle(2) == 2 * MINUTE


def test_one_percent_is_activity_and_less_is_not() -> None:
    """A heartbeat that touches the GPU now and then is no use of it."""
    node = Node()
    assert node.add(MINUTE // 100 - 1, MINUTE - MINUTE // 100 + 1) == MINUTE
    assert node.add(MINUTE // 100, MINUTE - MINUTE // 100) == 0


def test_the_end_of_the_reservation_ends_the_series() -> None:
    """Nobody is told of a pod that is gone."""
    node = Node()
    node.idle(3)
    node.add(idle_us=10 * S, end=())
    assert node.spells.now() == ()
    assert node.add(idle_us=30 * S, start=()) == 30 * S


def test_another_pod_of_the_same_name_begins_anew_and_a_uid_that_is_learned_does_not() -> None:
    node = Node()
    unnamed = replace(OWNER, pod_uid="")
    node.add(idle_us=MINUTE, start=(), end=(unnamed,))
    assert node.add(idle_us=MINUTE, start=(unnamed,), end=(OWNER,)) == 2 * MINUTE
    again = replace(OWNER, pod_uid="uid-9")
    assert node.add(idle_us=20 * S, start=(OWNER,), end=(again,)) == 20 * S


def test_two_minutes_without_measurement_are_bridged_but_not_counted_and_more_end_the_spell() -> None:
    """Idle time is what was measured: a driver that says nothing is no idle GPU."""
    node = Node()
    node.idle(3)
    assert node.add(dark_us=MINUTE) == 3 * MINUTE
    assert node.add(dark_us=MINUTE) == 3 * MINUTE
    assert node.idle(1) == 4 * MINUTE
    node.add(dark_us=MINUTE)
    node.add(dark_us=MINUTE)
    assert node.add(dark_us=MINUTE) is None
    assert node.found.held_us == 9 * MINUTE
    assert node.idle(1) == MINUTE


def test_unavailable_time_is_not_measured_either() -> None:
    """A lost device has no line of its holder; that is neither idle nor the end of the reservation."""
    node = Node()
    node.idle(3)
    assert [node.add() for _ in range(3)] == [3 * MINUTE, 3 * MINUTE, None]


def test_a_hole_between_windows_is_time_without_measurement() -> None:
    node = Node()
    node.idle(3)
    node.now_us += 120 * S
    assert node.idle(1) == 4 * MINUTE
    node.now_us += 121 * S
    assert node.idle(1) == MINUTE


def test_wall_time_that_a_clock_skipped_is_no_hole() -> None:
    node = Node()
    node.idle(3)
    node.now_us += 3600 * S
    holders = (Holding(OWNER),)
    line = Line(LineKey("gpu", OWNER, Basis.RESERVATION), Source.DEVICE_SAMPLES, 0, MINUTE)
    device = DeviceWindow("GPU-1", "H100", MINUTE, (line,), start_holders=holders, end_holders=holders)
    node.spells.fold([Window("c", "n", node.now_us, node.now_us + MINUTE, (device,), skipped_us=3600 * S)])
    assert node.found.spell_us == 4 * MINUTE


def test_a_part_of_a_device_is_idle_as_long_as_the_whole_is() -> None:
    """A quarter's idle minute is booked as 15 s; it is a minute all the same."""
    node = Node()
    share = Fraction(1, 4)
    assert node.add(idle_us=15 * S, share=share, partition="replica") == MINUTE
    assert (node.found.partition, node.found.share, node.found.held_us) == ("replica", share, MINUTE)


def test_seven_idle_devices_of_eight_are_seven_spells() -> None:
    """Never one average over the devices of a pod."""
    node = Node()
    for index in range(8):
        node.now_us = 0
        node.add(*((MINUTE, 0) if index == 0 else (0, MINUTE)), uuid=f"GPU-{index}")
    assert [each.spell_us for each in node.spells.now()] == [0, *[MINUTE] * 7]


def test_a_device_that_no_window_tells_of_any_more_is_forgotten() -> None:
    node = Node()
    node.idle(1)
    for _ in range(3):
        node.add(idle_us=MINUTE, uuid="GPU-2")
    assert [each.uuid for each in node.spells.now()] == ["GPU-2"]


def test_a_restart_of_the_agent_is_a_short_time_without_measurement() -> None:
    """An upgrade of the agents must not silence every alert of the fleet."""
    node = Node()
    node.idle(3)
    node.spells = IdleSpells.of_json(node.spells.to_json())
    node.now_us += 30 * S
    assert node.idle(1) == 4 * MINUTE
    node.spells = IdleSpells.of_json(node.spells.to_json())
    node.now_us += 121 * S
    assert node.idle(1) == MINUTE


def test_what_was_kept_says_the_same() -> None:
    node = Node()
    node.add(idle_us=20 * S, share=Fraction(1, 3), partition="replica")
    node.add(dark_us=MINUTE, uuid="GPU-2", start=())
    assert IdleSpells.of_json(node.spells.to_json()).now() == node.spells.now()


@pytest.mark.parametrize(
    "text",
    ["", "null", "[[]]", "[[1, 2, [3], 4]]", '[["u", "p", ["a", "b", "c", "d"], "1/0", 0, 0, 0, 0]]', '{"a": 1}'],
)
def test_what_is_no_spell_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json has its own
        IdleSpells.of_json(text)


@given(st.lists(st.tuples(st.integers(0, MINUTE), st.integers(0, MINUTE)), min_size=1, max_size=12))
def test_a_spell_is_never_longer_than_the_reservation_nor_than_the_idle_time(parts: list[tuple[int, int]]) -> None:
    """0 <= spell <= idle time + 1 % of it <= time held, whatever happens."""
    node = Node()
    idle = 0
    for used, dark in parts:
        used = min(used, MINUTE - min(dark, MINUTE))
        rest = MINUTE - used - min(dark, MINUTE - used)
        spell = node.add(used, rest, MINUTE - used - rest)
        idle += rest
        assert spell is None or 0 <= spell <= idle * 100 // 99 + 1
        assert (spell or 0) <= node.found.held_us
