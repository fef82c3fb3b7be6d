"""MIG devices: each one's time is known by GPM, or not at all, through every re-partitioning."""

from gputally.accounting.settlement import Coverage
from gputally.accounting.states import Source
from gputally.agent.attribution.busy import Piece
from gputally.agent.attribution.instance_busy import InstanceBusyTrack
from gputally.agent.attribution.instances import Instances
from gputally.agent.clock import Instant
from gputally.agent.sample import DeviceInfo, GpmReading, InstanceReading, MigInstance

S = 1_000_000
HALF = 500_000


def instance(name: str, gpu_instance: int = 1, compute_instance: int = 0) -> MigInstance:
    return MigInstance(f"MIG-{name}", gpu_instance, compute_instance, 1, "1g.10gb")


def gpu(*instances: MigInstance) -> DeviceInfo:
    return DeviceInfo("GPU-0", 0, "H100", mig_enabled=True, slices=7, instances=instances)


def average(since: float, end: float, graphics: int | None = HALF, name: str = "a") -> InstanceReading:
    gpm = GpmReading(round(since * S), round(end * S), graphics, 1, 2, 3, 4)
    return InstanceReading(f"MIG-{name}", gpm=gpm, gpm_supported=True)


def alone() -> InstanceBusyTrack:
    return InstanceBusyTrack(0, S, alone=True)


WAITING = InstanceReading("MIG-a", gpm_supported=True)


def test_an_average_covers_the_time_between_its_two_samples() -> None:
    track = alone()
    assert track.extend(S, WAITING, 0) == []
    assert track.known_us == 0
    pieces = track.extend(2 * S, average(0, 2), 0)
    assert pieces == [Piece(0, 2 * S, HALF, Coverage.MEASURED, Source.GPM)]


def test_stamps_are_moved_onto_the_agents_timeline() -> None:
    [piece] = alone().extend(S, average(0.01, 1.01), -10_000)
    assert (piece.start_us, piece.end_us) == (0, S)


def test_the_moment_before_the_first_sample_of_a_pair_is_taken_for_what_follows() -> None:
    before, after = alone().extend(2 * S, average(0.05, 2), 0)
    assert (before.end_us, before.ppm, before.held) == (50_000, HALF, True)
    assert (after.start_us, after.held) == (50_000, False)


def test_a_short_hole_between_two_pairs_holds_the_last_value_a_long_one_is_unobserved() -> None:
    track = alone()
    track.extend(S, average(0, 1), 0)
    held, _ = track.extend(3 * S, average(2, 3, 0), 0)
    assert (held.start_us, held.end_us, held.ppm, held.held) == (S, 2 * S, HALF, True)
    dark, _ = track.extend(9 * S, average(8, 9), 0)
    assert (dark.end_us, dark.coverage) == (8 * S, Coverage.NO_UTILISATION)


def test_a_long_average_is_the_drivers_own_word_for_a_time_without_samples() -> None:
    [piece] = alone().extend(90 * S, average(0, 90), 0)
    assert (piece.coverage, piece.held) == (Coverage.MEASURED, False)


def test_without_gpm_or_with_a_refused_value_an_instance_cannot_be_told_and_is_not_idle() -> None:
    for reading in (InstanceReading("MIG-a"), average(0, 1, None)):
        [piece] = alone().extend(S, reading, 0)
        assert piece.coverage is Coverage.NO_UTILISATION


def test_compute_instances_that_share_a_gpu_instance_cannot_be_told_apart() -> None:
    """GPM measures the GPU instance: whose kernel it was, nobody knows."""
    both = Instances(S)
    both.repartition(0, gpu(instance("a", 1, 0), instance("b", 1, 1), instance("c", 2)))
    both.observe(Instant(S, 0), [average(0, 1, name=name) for name in "abc"])
    coverages = [both.piece(f"MIG-{name}", 0).coverage for name in "abc"]
    assert coverages == [Coverage.NO_UTILISATION, Coverage.NO_UTILISATION, Coverage.MEASURED]
    assert both.quality("MIG-a", 0, S) is None


def test_an_instance_that_stays_keeps_its_pair_and_one_that_goes_keeps_its_past() -> None:
    instances = Instances(S)
    instances.repartition(0, gpu(instance("a", 1), instance("b", 2)))
    instances.observe(Instant(S, 0), [average(0, 1), average(0, 1, name="b")])
    instances.repartition(2 * S, gpu(instance("a", 1), instance("c", 2)))
    assert instances.piece("MIG-b", 0).coverage is Coverage.MEASURED
    assert instances.piece("MIG-b", S).held
    assert instances.piece("MIG-b", 2 * S).coverage is Coverage.NO_UTILISATION
    instances.observe(Instant(3 * S, 0), [average(2, 3)])
    assert instances.piece("MIG-a", 2 * S).ppm == HALF
    assert instances.known_us == 2 * S


def test_the_same_uuid_made_again_is_another_instance() -> None:
    """Its average does not reach back over the change, and its time in between is nobody's."""
    instances = Instances(S)
    instances.repartition(0, gpu(instance("a", 1)))
    instances.observe(Instant(S, 0), [average(0, 1)])
    instances.repartition(S, gpu())
    instances.repartition(5 * S, gpu(instance("a", 1)))
    assert instances.piece("MIG-a", 2 * S) == Piece(2 * S, 1 << 62, 0, Coverage.NO_UTILISATION)
    instances.observe(Instant(6 * S, 0), [average(5, 6)])
    assert instances.piece("MIG-a", 2 * S).end_us == 5 * S


def test_instances_that_are_gone_and_accounted_for_are_forgotten() -> None:
    instances = Instances(S)
    for epoch in range(20):
        instances.repartition(epoch * S, gpu(instance(str(epoch))))
        instances.forget(epoch * S)
    assert len(instances._pieces) == 1
