"""Settlement: each rule by an example in round numbers, and the invariants for everything else."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.accounting.keys import PLATFORM, PLATFORM_KEY, REPLICA, WHOLE_GPU, Holding, LineKey, Owner
from gputally.accounting.settlement import Contest, Coverage, Settled, Stretch, reserved_key, settle
from gputally.accounting.states import Basis, OwnerKind, Reason, Source, State
from gputally.accounting.stretch import InstanceStretch

A = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
B = Owner(OwnerKind.POD, "inference", "chat", "main", "uid-b")
HOST = Owner(OwnerKind.HOST, user="user-1000", unit="session-1.scope")
MINUTE = 60_000_000


def us(seconds: float) -> Fraction:
    return Fraction(round(seconds * 1_000_000))


def time(settled: Settled, key: LineKey, state: State) -> Fraction:
    return settled[key].states.get(state, Fraction(0)) if key in settled else Fraction(0)


def process_key(owner: Owner) -> LineKey:
    return LineKey(WHOLE_GPU, owner, Basis.PROCESS)


def platform_key(reason: Reason) -> LineKey:
    return LineKey(WHOLE_GPU, PLATFORM, Basis.NONE, reason)


def test_unavailable_wins_over_any_holder_and_takes_the_energy() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A),), available=False, energy_mj=Fraction(600)))
    assert set(settled) == {PLATFORM_KEY}
    assert time(settled, PLATFORM_KEY, State.UNAVAILABLE) == MINUTE
    assert settled[PLATFORM_KEY].energy_dynamic_mj == 600


def test_without_a_sample_the_holder_is_unobserved_not_idle() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A),), coverage=Coverage.NO_SAMPLE))
    assert time(settled, reserved_key(Holding(A), Reason.NO_SAMPLE), State.UNOBSERVED) == MINUTE
    assert list(settled) == [reserved_key(Holding(A), Reason.NO_SAMPLE)]


def test_without_a_sample_the_rest_is_the_platforms_unobserved() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A, REPLICA, Fraction(1, 4)),), coverage=Coverage.NO_SAMPLE))
    assert time(settled, platform_key(Reason.NO_SAMPLE), State.UNOBSERVED) == MINUTE * Fraction(3, 4)


@pytest.mark.parametrize("coverage", [Coverage.NO_UTILISATION, Coverage.INVALID_READING])
def test_sampled_but_not_measurable_leaves_the_rest_unallocated(coverage: Coverage) -> None:
    holding = Holding(A, REPLICA, Fraction(1, 4))
    settled = settle(Stretch(MINUTE, (holding,), coverage=coverage))
    assert time(settled, reserved_key(holding, coverage.value), State.UNOBSERVED) == MINUTE / Fraction(4)
    assert time(settled, PLATFORM_KEY, State.UNALLOCATED) == MINUTE * Fraction(3, 4)


def test_nobody_can_say_who_held_it_is_never_called_free() -> None:
    settled = settle(Stretch(MINUTE, coverage=Coverage.UNATTRIBUTED))
    assert time(settled, platform_key(Reason.UNATTRIBUTED), State.UNOBSERVED) == MINUTE


def test_a_whole_device_gives_the_holder_all_busy_time_that_is_not_known_to_be_others() -> None:
    stretch = Stretch(MINUTE, (Holding(A),), busy_us=us(30), process_busy_us={A: us(5), HOST: us(10)})
    settled = settle(stretch)
    assert time(settled, reserved_key(Holding(A)), State.USED) == us(20)
    assert time(settled, reserved_key(Holding(A)), State.IDLE) == us(40)
    assert settled[process_key(HOST)].states == {}
    assert settled[process_key(HOST)].intruder_us == us(10)


def test_processes_on_a_free_device_are_used_by_process() -> None:
    settled = settle(Stretch(MINUTE, busy_us=us(15), process_busy_us={HOST: us(15)}))
    assert time(settled, process_key(HOST), State.USED) == us(15)
    assert time(settled, PLATFORM_KEY, State.UNALLOCATED) == us(45)


def test_busy_time_that_no_process_explains_is_unattributed() -> None:
    settled = settle(Stretch(MINUTE, busy_us=us(20), process_busy_us={HOST: us(15)}))
    assert time(settled, platform_key(Reason.UNATTRIBUTED), State.UNOBSERVED) == us(5)
    assert time(settled, PLATFORM_KEY, State.UNALLOCATED) == us(40)


def test_replicas_are_clipped_to_their_share_and_the_rest_is_a_burst() -> None:
    a, b = Holding(A, REPLICA, Fraction(1, 4)), Holding(B, REPLICA, Fraction(1, 2))
    settled = settle(Stretch(MINUTE, (a, b), busy_us=us(50), process_busy_us={A: us(40), B: us(10)}))
    assert time(settled, reserved_key(a), State.USED) == us(15)
    assert settled[reserved_key(a)].burst_us == us(25)
    assert time(settled, reserved_key(b), State.USED) == us(10)
    assert time(settled, reserved_key(b), State.IDLE) == us(20)
    assert time(settled, PLATFORM_KEY, State.UNALLOCATED) == us(15)


def test_unattributed_leaves_idle_and_free_time_in_proportion() -> None:
    a = Holding(A, REPLICA, Fraction(1, 2))
    settled = settle(Stretch(MINUTE, (a,), busy_us=us(12)))
    assert time(settled, reserved_key(a, Reason.UNATTRIBUTED), State.UNOBSERVED) == us(6)
    assert time(settled, platform_key(Reason.UNATTRIBUTED), State.UNOBSERVED) == us(6)
    assert time(settled, reserved_key(a), State.IDLE) == us(24)


def test_two_holders_of_one_device_charge_neither_and_neither_is_an_intruder() -> None:
    contest = Contest(frozenset({A, B}))
    stretch = Stretch(
        MINUTE, contest=contest, busy_us=us(30), process_busy_us={A: us(30), HOST: us(6)}, energy_mj=Fraction(90)
    )
    settled = settle(stretch)
    assert time(settled, platform_key(Reason.TWO_HOLDERS), State.UNOBSERVED) == MINUTE
    assert process_key(A) not in settled
    assert settled[process_key(HOST)].intruder_us == us(6)
    assert settled[platform_key(Reason.TWO_HOLDERS)].energy_dynamic_mj == 72


def test_idle_power_goes_by_share_and_the_rest_by_busy_time() -> None:
    a, b = Holding(A, REPLICA, Fraction(1, 2)), Holding(B, REPLICA, Fraction(1, 4))
    stretch = Stretch(
        MINUTE,
        (a, b),
        busy_us=us(40),
        process_busy_us={A: us(30), B: us(10)},
        energy_mj=Fraction(10_000_000),
        idle_power_mw=100_000,
    )
    settled = settle(stretch)
    assert settled[reserved_key(a)].energy_idle_mj == 3_000_000
    assert settled[PLATFORM_KEY].energy_idle_mj == 1_500_000
    assert settled[reserved_key(a)].energy_dynamic_mj == 3_000_000
    assert settled[reserved_key(b)].energy_dynamic_mj == 1_000_000


def test_an_idle_device_whose_idle_power_is_unknown_books_all_energy_as_dynamic() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A),), energy_mj=Fraction(500)))
    assert settled[reserved_key(Holding(A))].energy_dynamic_mj == 500
    assert settled[reserved_key(Holding(A))].energy_idle_mj == 0


def test_held_time_is_a_memo_on_the_holders_line() -> None:
    settled = settle(Stretch(MINUTE, (Holding(A),), busy_us=us(1), source=Source.DEVICE_SAMPLES, held_us=2_000_000))
    assert settled[reserved_key(Holding(A))].held_us == us(2)
    assert settled[reserved_key(Holding(A))].source is Source.DEVICE_SAMPLES


_OWNERS = [A, B, HOST, Owner(OwnerKind.POD, "notebooks", "nb", "lab", "uid-c")]
_CLAIMED = tuple(Owner(OwnerKind.POD, "ml", "solver", name, "uid-d") for name in ("left", "right", "middle"))
_POD = Owner(OwnerKind.POD, "ml", "solver", "", "uid-d")


@st.composite
def facts(draw: st.DrawFn, duration: int) -> dict[str, object]:
    """What is known of one device or instance: any that the kubelet, the driver and /proc can produce."""
    parts = draw(st.lists(st.integers(1, 4), max_size=4))
    whole = max(sum(parts), draw(st.integers(1, 12)))
    shares = [Fraction(part, whole) for part in parts]
    holdings = tuple(Holding(o, REPLICA, s) for o, s in zip([*_OWNERS[:2], _OWNERS[0]], shares, strict=False))
    if len(shares) == 4:
        holdings += (Holding(_POD, share=shares[3], containers=draw(st.sampled_from([_CLAIMED, _CLAIMED[:1], ()]))),)
    free = 1 - sum(shares)
    contested = frozenset(draw(st.sets(st.sampled_from([A, _OWNERS[3]]), min_size=1)))
    busy = st.integers(0, duration * 100).map(lambda centi: Fraction(centi, 100))
    owners = st.sampled_from([*_OWNERS, _POD])
    return {
        "holdings": holdings,
        "contest": Contest(contested, free) if free and draw(st.booleans()) else None,
        "coverage": draw(st.sampled_from([Coverage.MEASURED, *Coverage])),
        "busy_us": draw(busy),
        "process_busy_us": draw(st.dictionaries(owners, busy)),
        "source": draw(st.sampled_from(Source)),
        "held_us": draw(st.integers(0, duration)),
        "clients": draw(st.none() | st.frozensets(owners)),
        "unused_share": Fraction(draw(st.integers(0, 4)), 4),
        "memory_byte_us": draw(st.none() | st.dictionaries(owners | st.just(PLATFORM), st.none() | st.integers(0, 99))),
    }


@st.composite
def stretches(draw: st.DrawFn) -> Stretch:
    """Any stretch, of a whole device or of one that is partitioned."""
    duration = draw(st.integers(1, MINUTE))
    slices = draw(st.sampled_from([(), (), (7,), (4, 2), (4, 3), (3, 3), (2, 2, 2, 1), (1,) * 7]))
    instances = tuple(
        InstanceStretch(f"MIG-{n}", Fraction(each, 7), Stretch(duration, **draw(facts(duration))))  # type: ignore[arg-type]
        for n, each in enumerate(slices)
    )
    return Stretch(
        duration,
        **draw(facts(duration)),  # type: ignore[arg-type]
        available=draw(st.sampled_from([True, True, True, False])),
        energy_mj=draw(st.none() | st.integers(0, 10**8).map(lambda mj: Fraction(mj, 3))),
        idle_power_mw=draw(st.none() | st.integers(0, 700_000)),
        instances=instances,
    )


@given(stretches())
def test_i1_states_sum_to_the_stretch(stretch: Stretch) -> None:
    assert sum(sum(line.states.values()) for line in settle(stretch).values()) == stretch.duration_us


@given(stretches())
def test_i2_energies_sum_to_the_stretchs_energy(stretch: Stretch) -> None:
    lines = settle(stretch).values()
    assert sum(line.energy_idle_mj + line.energy_dynamic_mj for line in lines) == (stretch.energy_mj or 0)


@given(stretches())
def test_i3_nothing_is_negative(stretch: Stretch) -> None:
    for line in settle(stretch).values():
        memos = (line.burst_us, line.intruder_us, line.held_us, line.energy_idle_mj, line.energy_dynamic_mj)
        assert min((*line.states.values(), *memos)) >= 0


@given(stretches())
def test_memos_of_held_time_sum_to_the_held_time_of_a_measured_stretch(stretch: Stretch) -> None:
    if stretch.available and stretch.coverage is Coverage.MEASURED and not stretch.instances:
        assert sum(line.held_us for line in settle(stretch).values()) == stretch.held_us


@given(stretches())
def test_a_holder_is_charged_its_share_of_the_stretch_whatever_happened_in_it(stretch: Stretch) -> None:
    if not stretch.available or stretch.instances:
        return
    charged = [sum(line.states.values()) for key, line in settle(stretch).items() if key.basis is Basis.RESERVATION]
    assert sum(charged) == sum(holding.share for holding in stretch.holdings) * stretch.duration_us


@given(stretches())
def test_an_instances_lines_sum_to_no_more_than_its_share(stretch: Stretch) -> None:
    settled = settle(stretch)
    for instance in stretch.instances:
        mine = [sum(line.states.values()) for key, line in settled.items() if key.partition == instance.uuid]
        assert sum(mine) <= instance.share * stretch.duration_us
