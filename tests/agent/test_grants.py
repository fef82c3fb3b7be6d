"""Grants: reservations get owners, and a thread that keeps them fresh delays nobody."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.fakes import Clock, FakeKubelet

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.held import UNKNOWN, Held
from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations.device_id import DeviceName
from gputally.agent.reservations.grants import GrantBook, Kubelet, PodStart, PollState, ReservationPoller
from gputally.agent.reservations.holders import ClaimGrant, ClaimingPod, Grant
from gputally.agent.reservations.kubelet import ContainerClaim, ContainerReservation, Reservations
from gputally.agent.sample import DeviceInfo

S = 1_000_000
NAME = ("research", "train-0", "main")
DEVICE = DeviceInfo("GPU-0", 0, "H100")
LONG_S = 60.0  # far longer than anything here takes; a test that is right never waits for it


@dataclass(frozen=True)
class Pod:
    uid: str
    started_us: int | None = None
    ended: bool = False


@dataclass
class Api:
    """The pods that the API shows, by name."""

    pods: dict[tuple[str, str], Pod] = field(default_factory=dict)

    def find(self, namespace: str, name: str) -> PodStart | None:
        return self.pods.get((namespace, name))


def reservation(*device_ids: str, container: str = "main", resource: str = "nvidia.com/gpu") -> ContainerReservation:
    return ContainerReservation("research", "train-0", container, resource, device_ids)


def claim(container: str = "main", pod: str = "train-0", *devices: str, name: str = "mine") -> ContainerClaim:
    named = tuple(DraDevice("gpu.nvidia.com", "labnode", device) for device in devices or ("gpu-0",))
    return ContainerClaim("research", pod, container, "research", name, named)


def answer(*held: ContainerReservation | ContainerClaim) -> Reservations:
    claims = tuple(sorted(one for one in held if isinstance(one, ContainerClaim)))
    return Reservations(0, False, tuple(one for one in held if isinstance(one, ContainerReservation)), (), claims)


@dataclass
class ApiClaims:
    """What the API tells of claims: UUIDs by device name, (claim, device) with admin access, devices without use."""

    uuids: dict[str, str] = field(default_factory=dict)
    admin: set[tuple[str, str]] = field(default_factory=set)
    idle: list[DraDevice] = field(default_factory=list)
    problem: str = ""

    def name_of(self, device: DraDevice) -> DeviceName | None:
        uuid = self.uuids.get(device.name)
        return DeviceName(uuid=uuid) if uuid else None

    def is_admin(self, _namespace: str, claim: str, device: DraDevice) -> bool:
        return (claim, device.name) in self.admin

    def unused(self) -> list[DraDevice]:
        return self.idle


@dataclass
class Desk:
    """A book on an API and a clock."""

    api: Api = field(default_factory=Api)
    wall: Clock = field(default_factory=lambda: Clock(100))
    claims: ApiClaims | None = None

    def __post_init__(self) -> None:
        self.book = GrantBook(self.api.find, self.wall, self.claims)

    def grants(self, *held: ContainerReservation) -> tuple[Grant, ...]:
        return self.book.read(answer(*held)).grants

    def claimed(self, *held: ContainerClaim) -> tuple[ClaimGrant, ...]:
        return self.book.read(answer(*held)).claims


def test_a_pod_that_the_api_shows_is_its_uid_with_its_start() -> None:
    desk = Desk()
    desk.api.pods["research", "train-0"] = Pod("uid-a", 77)
    owner = Owner(OwnerKind.POD, *NAME, pod_uid="uid-a")
    assert desk.grants(reservation("GPU-0")) == (Grant(owner, ("GPU-0",), 77, 100),)


def test_a_pod_that_the_api_does_not_show_is_its_name_since_it_was_first_seen() -> None:
    desk = Desk()
    desk.grants(reservation("GPU-0"))
    desk.wall.now_us = 900
    owner = Owner(OwnerKind.POD, *NAME, first_seen_us=100)
    assert desk.grants(reservation("GPU-0")) == (Grant(owner, ("GPU-0",), None, 100),)


def test_a_name_that_vanished_and_came_back_is_another_holder() -> None:
    desk = Desk()
    [before] = desk.grants(reservation("GPU-0"))
    assert desk.grants() == ()
    desk.wall.now_us = 900
    [after] = desk.grants(reservation("GPU-0"))
    assert (before.owner.first_seen_us, after.owner.first_seen_us) == (100, 900)


def test_a_container_with_two_resources_is_one_owner_with_two_grants() -> None:
    grants = Desk().grants(reservation("GPU-0"), reservation("GPU-1", resource="nvidia.com/other"))
    assert len(grants) == 2
    assert len({grant.owner for grant in grants}) == 1


def test_containers_of_a_pod_are_owners_of_their_own() -> None:
    grants = Desk().grants(reservation("GPU-0"), reservation("GPU-1", container="helper"))
    assert [grant.owner.container for grant in grants] == ["main", "helper"]


def test_a_pod_that_has_ended_holds_nothing_though_old_kubelets_still_list_it() -> None:
    desk = Desk()
    desk.api.pods["research", "train-0"] = Pod("uid-a", 77, ended=True)
    assert desk.grants(reservation("GPU-0")) == ()
    assert desk.claimed(claim()) == ()
    [shared] = desk.claimed(claim(), claim(pod="train-1"))
    assert [pod.owner.pod for pod in shared.pods] == ["train-1"]


# Claims

POD = Owner(OwnerKind.POD, "research", "train-0", "", pod_uid="uid-a")


def owned(container: str) -> Owner:
    return replace(POD, container=container)


def test_a_claim_is_held_by_its_pod_for_the_containers_that_list_it() -> None:
    desk = Desk(claims=ApiClaims({"gpu-0": "GPU-0"}))
    desk.api.pods["research", "train-0"] = Pod("uid-a", 77)
    pod = ClaimingPod(POD, (owned("left"), owned("right")), 77, 100)
    assert desk.claimed(claim("right"), claim("left")) == (ClaimGrant(DeviceName(uuid="GPU-0"), (pod,)),)


def test_a_claim_that_pods_share_has_them_all() -> None:
    [shared] = Desk().claimed(claim(pod="a"), claim(pod="b"))
    assert [pod.owner.pod for pod in shared.pods] == ["a", "b"]


def test_each_device_of_a_claim_is_claimed_by_the_containers_that_list_it() -> None:
    desk = Desk(claims=ApiClaims({"gpu-0": "GPU-0", "gpu-1": "GPU-1"}))
    found = desk.claimed(claim("main", "train-0", "gpu-0", "gpu-1"), claim("side", "train-0", "gpu-1"))
    users = {one.device: [owner.container for owner in one.pods[0].containers] for one in found}
    assert users == {DeviceName(uuid="GPU-0"): ["main"], DeviceName(uuid="GPU-1"): ["main", "side"]}


def test_a_claim_that_the_kubelet_lists_in_pieces_is_one() -> None:
    found = Desk().claimed(claim("main", "train-0", "gpu-0"), claim("main", "train-0", "gpu-0", "gpu-1"))
    assert [(one.device, len(one.pods[0].containers)) for one in found] == [
        (DeviceName(minor=0), 1),
        (DeviceName(minor=1), 1),
    ]


def test_without_the_api_a_device_is_what_its_name_says() -> None:
    desk = Desk()
    assert [one.device for one in desk.claimed(claim())] == [DeviceName(minor=0)]
    assert [one.device for one in desk.claimed(claim("main", "train-0", "odd"))] == [None]


def test_admin_access_is_passed_on_by_claim_and_device() -> None:
    desk = Desk(claims=ApiClaims(admin={("mine", "gpu-1")}))
    found = desk.claimed(claim("main", "train-0", "gpu-0", "gpu-1"))
    assert [one.admin for one in found] == [False, True]


def test_a_device_of_a_claim_that_no_pod_uses_is_claimed_by_nobody() -> None:
    desk = Desk(claims=ApiClaims({"gpu-3": "GPU-3"}, idle=[DraDevice("gpu.nvidia.com", "labnode", "gpu-3")]))
    assert desk.claimed() == (ClaimGrant(DeviceName(uuid="GPU-3")),)


def test_a_pod_with_claims_that_the_api_does_not_show_is_its_name_since_it_was_first_seen() -> None:
    desk = Desk()
    desk.claimed(claim())
    desk.wall.now_us = 900
    [[pod]] = [one.pods for one in desk.claimed(claim())]
    assert pod.owner == Owner(OwnerKind.POD, "research", "train-0", first_seen_us=100)
    assert pod.containers == (Owner(OwnerKind.POD, *NAME, first_seen_us=100),)
    desk.claimed()
    [[again]] = [one.pods for one in desk.claimed(claim())]
    assert again.owner.first_seen_us == 900


def test_what_is_wrong_with_claims_is_told_where_there_are_some() -> None:
    desk = Desk(claims=ApiClaims(problem="cannot read ResourceClaims"))
    assert desk.book.problem(answer(reservation("GPU-0"))) == ""
    assert desk.book.problem(answer(claim())) == "cannot read ResourceClaims"
    assert "names" in Desk().book.problem(answer(claim()))


# The poller


@dataclass
class Desked:
    """A poller beside a kubelet; its clock stands still."""

    kubelet: FakeKubelet = field(default_factory=FakeKubelet)
    monotonic: Clock = field(default_factory=lambda: Clock(5 * S))
    interval_us: int = 3600 * S

    def __post_init__(self) -> None:
        book = GrantBook(Api().find, Clock(100))
        self.poller = ReservationPoller(self.kubelet, book, self.interval_us, self.monotonic)

    def held(self) -> list[tuple[int, Held]]:
        return [(at_us, placement([DEVICE])["GPU-0"]) for at_us, placement in self.poller.take()]

    @contextmanager
    def running(self) -> Iterator[FakeKubelet]:
        self.poller.start()
        try:
            yield self.kubelet
        finally:
            self.poller.close()


MINE = Held((Holding(Owner(OwnerKind.POD, *NAME, first_seen_us=100)),))


def test_the_fake_is_a_kubelet() -> None:
    kubelet: Kubelet = FakeKubelet()
    assert kubelet.poll().containers == ()


def test_an_answer_counts_from_the_instant_at_which_it_was_given() -> None:
    desk = Desked(FakeKubelet([reservation("GPU-0")]))
    desk.poller.poll()
    assert desk.held() == [(5 * S, MINE)]
    assert desk.poller.take() == []


def test_answers_wait_in_order_for_the_meter() -> None:
    desk = Desked(FakeKubelet([reservation("GPU-0")]))
    desk.poller.poll()
    desk.kubelet.containers.clear()
    desk.monotonic.now_us += 10 * S
    desk.poller.poll()
    assert desk.held() == [(5 * S, MINE), (15 * S, Held())]


def test_answers_that_nobody_takes_are_bounded_and_the_newest_stay() -> None:
    desk = Desked()
    for _ in range(1000):
        desk.monotonic.now_us += S
        desk.poller.poll()
    answers = desk.poller.take()
    assert len(answers) == 256
    assert answers[-1][0] == 1005 * S


def test_a_kubelet_that_is_away_releases_nothing_and_says_why() -> None:
    desk = Desked(FakeKubelet([reservation("GPU-0")]))
    desk.poller.poll()
    desk.kubelet.away = "no such socket: mount /var/lib/kubelet/pod-resources"
    desk.poller.poll()
    assert len(desk.poller.take()) == 1
    assert desk.poller.state == PollState(False, 0, "no such socket: mount /var/lib/kubelet/pod-resources")


def test_a_stale_answer_is_kept_and_marked() -> None:
    desk = Desked(FakeKubelet([reservation("GPU-0")], stale=True))
    desk.poller.poll()
    assert desk.held() == [(5 * S, MINE)]
    assert desk.poller.state == PollState(False, 0, "the kubelet's word is old")


def test_before_the_first_poll_the_state_says_so() -> None:
    assert Desked().poller.state == PollState(False, None, "the kubelet was not asked yet")


def test_a_good_answer_clears_the_problem() -> None:
    desk = Desked(FakeKubelet(away="away"))
    desk.poller.poll()
    desk.kubelet.away = ""
    desk.poller.poll()
    assert desk.poller.state == PollState(True, 0, "")


def test_claims_are_placed_with_what_the_device_plugin_gave_in_one_pass() -> None:
    desk = Desked(FakeKubelet([reservation("GPU-0")], claims=(claim("main", "other", "gpu-7"),)))
    desk.poller.poll()
    [(_, placement)] = desk.poller.take()
    placed = placement([replace(DEVICE, minor=3), DeviceInfo("GPU-7", 1, "H100", minor=7)])
    assert [held.holdings[0].owner.pod for held in placed.values()] == ["train-0", "other"]
    assert "names" in desk.poller.state.problem


def test_a_claim_whose_device_means_nothing_makes_free_devices_unattributable() -> None:
    desk = Desked(FakeKubelet(claims=(claim("main", "train-0", "odd"),)))
    desk.poller.poll()
    assert desk.held() == [(5 * S, UNKNOWN)]


def test_the_number_of_replicas_is_what_the_plugin_offers() -> None:
    offered = tuple(("nvidia.com/gpu.shared", f"GPU-0::{n}") for n in range(4))
    desk = Desked(FakeKubelet([reservation("GPU-0::1", "GPU-0::2")], offered))
    desk.poller.poll()
    [(_, held)] = desk.held()
    assert float(held.holdings[0].share) == 0.5


def test_it_is_asked_again_and_again_on_schedule() -> None:
    with Desked(interval_us=1000).running() as kubelet:
        assert all(kubelet.asked.acquire(timeout=LONG_S) for _ in range(5))


def test_waking_it_asks_at_once() -> None:
    desk = Desked()
    with desk.running() as kubelet:
        desk.poller.wake()
        assert kubelet.asked.acquire(timeout=LONG_S)


def test_a_kubelet_that_was_away_is_asked_again() -> None:
    with Desked(FakeKubelet(away="away"), interval_us=1000).running() as kubelet:
        assert kubelet.asked.acquire(timeout=LONG_S)
        assert kubelet.asked.acquire(timeout=LONG_S)


def test_closing_ends_the_thread_without_one_more_question() -> None:
    desk = Desked()
    with desk.running():
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "reservations"]
    assert not desk.kubelet.asked.acquire(blocking=False)


def test_closing_one_that_was_never_started_is_harmless() -> None:
    desk = Desked()
    desk.poller.close()
    assert not desk.kubelet.asked.acquire(blocking=False)


def test_after_being_woken_it_asks_again_soon() -> None:
    """What woke it may be younger than the answer that the kubelet just gave."""
    asked = threading.Semaphore(0)

    class Counting:
        def poll(self) -> Reservations:
            asked.release()
            return Reservations(0, False, (), ())

    book = GrantBook(lambda _namespace, _name: None, lambda: 0)
    poller = ReservationPoller(Counting(), book, 3_600_000_000, lambda: 0)
    poller.start()
    poller.wake()
    assert asked.acquire(timeout=LONG_S)
    assert asked.acquire(timeout=LONG_S)
    poller.close()
