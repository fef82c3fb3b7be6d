"""Grants: reservations get owners, and a thread that keeps them fresh delays nobody."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fakes import Clock, FakeKubelet

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.grants import GrantBook, Kubelet, PodStart, PollState, ReservationPoller
from gputally.agent.held import UNKNOWN, Held
from gputally.agent.holders import Grant
from gputally.agent.reservations import ContainerReservation, Reservations
from gputally.agent.sample import DeviceInfo

S = 1_000_000
NAME = ("research", "train-0", "main")
DEVICE = DeviceInfo("GPU-0", 0, "H100")
LONG_S = 20.0  # far longer than anything here takes; a test that is right never waits for it


@dataclass(frozen=True)
class Pod:
    uid: str
    started_us: int | None = None


@dataclass
class Api:
    """The pods that the API shows, by name."""

    pods: dict[tuple[str, str], Pod] = field(default_factory=dict)

    def find(self, namespace: str, name: str) -> PodStart | None:
        return self.pods.get((namespace, name))


def reservation(*device_ids: str, container: str = "main", resource: str = "nvidia.com/gpu") -> ContainerReservation:
    return ContainerReservation("research", "train-0", container, resource, device_ids)


def answer(*containers: ContainerReservation) -> Reservations:
    return Reservations(0, False, containers, ())


@dataclass
class Desk:
    """A book on an API and a clock."""

    api: Api = field(default_factory=Api)
    wall: Clock = field(default_factory=lambda: Clock(100))

    def __post_init__(self) -> None:
        self.book = GrantBook(self.api.find, self.wall)


def test_a_pod_that_the_api_shows_is_its_uid_with_its_start() -> None:
    desk = Desk()
    desk.api.pods["research", "train-0"] = Pod("uid-a", 77)
    owner = Owner(OwnerKind.POD, *NAME, pod_uid="uid-a")
    assert desk.book.grants(answer(reservation("GPU-0"))) == (Grant(owner, ("GPU-0",), 77, 100),)


def test_a_pod_that_the_api_does_not_show_is_its_name_since_it_was_first_seen() -> None:
    desk = Desk()
    desk.book.grants(answer(reservation("GPU-0")))
    desk.wall.now_us = 900
    owner = Owner(OwnerKind.POD, *NAME, first_seen_us=100)
    assert desk.book.grants(answer(reservation("GPU-0"))) == (Grant(owner, ("GPU-0",), None, 100),)


def test_a_name_that_vanished_and_came_back_is_another_holder() -> None:
    desk = Desk()
    [before] = desk.book.grants(answer(reservation("GPU-0")))
    assert desk.book.grants(answer()) == ()
    desk.wall.now_us = 900
    [after] = desk.book.grants(answer(reservation("GPU-0")))
    assert (before.owner.first_seen_us, after.owner.first_seen_us) == (100, 900)


def test_a_container_with_two_resources_is_one_owner_with_two_grants() -> None:
    grants = Desk().book.grants(answer(reservation("GPU-0"), reservation("GPU-1", resource="nvidia.com/other")))
    assert len(grants) == 2
    assert len({grant.owner for grant in grants}) == 1


def test_containers_of_a_pod_are_owners_of_their_own() -> None:
    grants = Desk().book.grants(answer(reservation("GPU-0"), reservation("GPU-1", container="helper")))
    assert [grant.owner.container for grant in grants] == ["main", "helper"]


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


def test_holdings_that_cannot_be_read_make_free_devices_unattributable() -> None:
    desk = Desked(FakeKubelet(claims=1))
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
    Desked().poller.close()


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
    assert asked.acquire(timeout=30)
    assert asked.acquire(timeout=30)
    poller.close()
