"""Grants: the kubelet's reservations with their owners, and a thread that keeps them fresh."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from gputally.accounting.keys import Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.held import Placement
from gputally.agent.kube.slices import DraDevice
from gputally.agent.reservations.device_id import DeviceName, parse_dra_name
from gputally.agent.reservations.holders import ClaimGrant, ClaimingPod, Grant, place
from gputally.agent.reservations.kubelet import ContainerClaim, Reservations, ReservationsUnavailable

_AGAIN_S = 1.5  # longer than the kubelet's socket makes us wait between two questions
_PENDING = 256  # placements that wait for the meter; it takes them every tick


class PodStart(Protocol):
    """Of a pod, what a grant needs: the UID, its start by the API in microseconds since the epoch, and its end."""

    @property
    def uid(self) -> str:
        """The pod's UID."""

    @property
    def started_us(self) -> int | None:
        """When the API says that it started."""

    @property
    def ended(self) -> bool:
        """Whether all its containers have ended for good."""


class Kubelet(Protocol):
    """Whoever answers for reservations: the kubelet's socket, or a scenario."""

    def poll(self) -> Reservations:
        """What is held now; raises ReservationsUnavailable."""


class Claims(Protocol):
    """Whoever knows of DRA devices and claims what the kubelet does not tell: the API, as far as it can be read."""

    @property
    def problem(self) -> str:
        """One line: what cannot be read; empty when all is well."""

    def name_of(self, device: DraDevice) -> DeviceName | None:
        """What is known of a device; None: nothing."""

    def is_admin(self, namespace: str, claim: str, device: DraDevice) -> bool:
        """Whether a claim has a device for monitoring only."""

    def unused(self) -> Iterable[DraDevice]:
        """The devices that are held by claims that no pod uses."""


class NoApi:
    """What is known of claims without the API: what the names of their devices say."""

    problem = (
        "the Kubernetes API is not asked: DRA devices are told by their names, claims for monitoring look like holders"
    )

    def name_of(self, device: DraDevice) -> DeviceName | None:
        """What its name says."""
        return parse_dra_name(device.name)

    def is_admin(self, _namespace: str, _claim: str, _device: DraDevice) -> bool:
        """Not known."""
        return False

    def unused(self) -> tuple[DraDevice, ...]:
        """Not known."""
        return ()


FindPod = Callable[[str, str], PodStart | None]
_Name = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Granted:
    """Reservations with their owners, ready to be placed on devices."""

    grants: tuple[Grant, ...]
    claims: tuple[ClaimGrant, ...]


class GrantBook:
    """Names the holders of reservations, and remembers when each was first seen."""

    def __init__(self, find_pod: FindPod, wall_us: Callable[[], int], claims: Claims | None = None) -> None:
        self._find_pod = find_pod
        self._wall_us = wall_us
        self._claims = claims or NoApi()
        self._first_seen: dict[_Name, int] = {}

    def read(self, reservations: Reservations) -> Granted:
        """The reservations with their owners; a name that vanished and came back is a new holder.

        Kubelets before 1.34 go on listing a pod that has ended, for as long as it exists; it holds nothing.
        """
        reservations = self._alive(reservations)
        now_us = self._wall_us()
        names = set(_names(reservations))
        self._first_seen = {name: self._first_seen.get(name, now_us) for name in names}
        grants = tuple(
            self._grant((held.namespace, held.pod, held.container), held.device_ids) for held in reservations.containers
        )
        return Granted(grants, (*self._claimed(reservations.claims), *self._unused()))

    def problem(self, reservations: Reservations) -> str:
        """What is not sure about what is held, in one line. What is wrong with claims matters where there are some."""
        return reservations.problem or (self._claims.problem if reservations.claims else "")

    def _alive(self, reservations: Reservations) -> Reservations:
        listed = {(held.namespace, held.pod) for held in reservations.containers}
        listed |= {(claim.namespace, claim.pod) for claim in reservations.claims}
        ended = {name for name in listed if (pod := self._find_pod(*name)) and pod.ended}
        return replace(
            reservations,
            containers=tuple(held for held in reservations.containers if (held.namespace, held.pod) not in ended),
            claims=tuple(claim for claim in reservations.claims if (claim.namespace, claim.pod) not in ended),
        )

    def _grant(self, name: _Name, device_ids: tuple[str, ...]) -> Grant:
        owner, started_us = self._owner(name)
        return Grant(owner, device_ids, started_us, self._first_seen[name])

    def _owner(self, name: _Name) -> tuple[Owner, int | None]:
        """Who a container is, or a whole pod where no container is named; and when the API says that it started."""
        pod = self._find_pod(name[0], name[1])
        if pod is None:
            return Owner(OwnerKind.POD, *name, first_seen_us=self._first_seen[name]), None
        return Owner(OwnerKind.POD, *name, pod_uid=pod.uid), pod.started_us

    def _claimed(self, claims: Sequence[ContainerClaim]) -> Iterator[ClaimGrant]:
        """A claim holds each of its devices, for all pods that list it there."""
        users: dict[tuple[str, str, DraDevice], list[ContainerClaim]] = {}
        for claim in claims:
            for device in claim.devices:
                users.setdefault((claim.claim_namespace, claim.claim, device), []).append(claim)
        for (namespace, name, device), listed in users.items():
            admin = self._claims.is_admin(namespace, name, device)
            partial = any(device in claim.partial for claim in listed)
            yield ClaimGrant(self._claims.name_of(device), self._pods(listed), admin, partial)

    def _pods(self, listed: Sequence[ContainerClaim]) -> tuple[ClaimingPod, ...]:
        containers: dict[tuple[str, str], set[str]] = {}
        for claim in listed:
            containers.setdefault((claim.namespace, claim.pod), set()).add(claim.container)
        return tuple(self._pod(*pod, names) for pod, names in sorted(containers.items()))

    def _pod(self, namespace: str, pod: str, containers: Collection[str]) -> ClaimingPod:
        name = (namespace, pod, "")
        owner, started_us = self._owner(name)
        owners = tuple(replace(owner, container=container) for container in sorted(containers))
        return ClaimingPod(owner, owners, started_us, self._first_seen[name])

    def _unused(self) -> Iterator[ClaimGrant]:
        for device in self._claims.unused():
            yield ClaimGrant(self._claims.name_of(device))


def _names(reservations: Reservations) -> Iterator[_Name]:
    """The containers that hold something, and the pods that use claims."""
    for held in reservations.containers:
        yield (held.namespace, held.pod, held.container)
    for claim in reservations.claims:
        yield (claim.namespace, claim.pod, "")


@dataclass(frozen=True, slots=True)
class PollState:
    """The last poll: how long it took, whether it was answered, and what to do if not."""

    up: bool = False
    duration_us: int | None = None
    problem: str = "the kubelet was not asked yet"


class ReservationPoller:
    """Asks the kubelet on a schedule of its own, so that a slow answer delays no sample.

    `source`: what metrics call whoever answers.
    """

    def __init__(
        self,
        kubelet: Kubelet,
        book: GrantBook,
        interval_us: int,
        monotonic_us: Callable[[], int],
        source: str = "kubelet",
    ) -> None:
        self.source = source
        self._kubelet = kubelet
        self._book = book
        self._interval_s = interval_us / 1e6
        self._monotonic_us = monotonic_us
        self._answers: deque[tuple[int, Placement]] = deque(maxlen=_PENDING)
        self._wake = threading.Event()
        self._started = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="reservations", daemon=True)
        self.state = PollState()

    def poll(self) -> None:
        """Ask once, now."""
        start_us = self._monotonic_us()
        try:
            answer = self._kubelet.poll()
        except ReservationsUnavailable as error:
            self.state = PollState(False, self._monotonic_us() - start_us, str(error))
            return
        now_us = self._monotonic_us()
        self.state = PollState(not answer.stale, now_us - start_us, self._book.problem(answer))
        granted = self._book.read(answer)
        placement = partial(
            place,
            grants=granted.grants,
            allocatable=tuple(device_id for _, device_id in answer.allocatable or ()),
            claims=granted.claims,
        )
        self._answers.append((now_us, placement))

    def take(self, until_us: int | None = None) -> list[tuple[int, Placement]]:
        """The answers since the last call: when each was given (monotonic), and where it places holders.

        `until_us`: those that were given later stay for another call.
        """
        answers = []
        while self._answers and (until_us is None or self._answers[0][0] <= until_us):
            answers.append(self._answers.popleft())
        return answers

    @property
    def problem(self) -> str:
        """Why reservations are not known, or not sure; one line, empty when all is well."""
        if self._started and not self._stopped and not self._thread.is_alive():
            return "the thread that asks the kubelet ended by an error (see the log): restart the agent"
        return self.state.problem

    def start(self) -> None:
        """Begin to poll on schedule."""
        self._started = True
        self._thread.start()

    def wake(self) -> None:
        """Poll now: something appeared that the last answer does not explain."""
        self._wake.set()

    def close(self) -> None:
        """Stop polling; a poll under way ends by its own deadline."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        """Once woken, it asks again soon: what woke it may be younger than the answer that the kubelet just gave."""
        wait_s = self._interval_s
        while not self._stopped:
            woken = self._wake.wait(wait_s)
            self._wake.clear()
            wait_s = min(_AGAIN_S, self._interval_s) if woken else self._interval_s
            if not self._stopped:
                self.poll()
