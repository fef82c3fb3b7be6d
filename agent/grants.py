"""Grants: the kubelet's reservations with their owners, and a thread that keeps them fresh."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gputally.accounting.keys import Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.holders import Grant, place
from gputally.agent.meter import Placement
from gputally.agent.reservations import Reservations, ReservationsUnavailable

_AGAIN_S = 1.5  # longer than the kubelet's socket makes us wait between two questions
_PENDING = 256  # placements that wait for the meter; it takes them every tick


class PodStart(Protocol):
    """Of a pod, what a grant needs: the UID, and its start by the API in microseconds since the epoch."""

    @property
    def uid(self) -> str:
        """The pod's UID."""

    @property
    def started_us(self) -> int | None:
        """When the API says that it started."""


class Kubelet(Protocol):
    """Whoever answers for reservations: the kubelet's socket, or a scenario."""

    def poll(self) -> Reservations:
        """What is held now; raises ReservationsUnavailable."""


FindPod = Callable[[str, str], PodStart | None]
_Name = tuple[str, str, str]


class GrantBook:
    """Names the holders of reservations, and remembers when each was first seen."""

    def __init__(self, find_pod: FindPod, wall_us: Callable[[], int]) -> None:
        self._find_pod = find_pod
        self._wall_us = wall_us
        self._first_seen: dict[_Name, int] = {}

    def grants(self, reservations: Reservations) -> tuple[Grant, ...]:
        """The reservations with their owners; a name that vanished and came back is a new holder."""
        now_us = self._wall_us()
        names = [(c.namespace, c.pod, c.container) for c in reservations.containers]
        self._first_seen = {name: self._first_seen.get(name, now_us) for name in names}
        return tuple(
            self._grant(name, container.device_ids)
            for name, container in zip(names, reservations.containers, strict=True)
        )

    def _grant(self, name: _Name, device_ids: tuple[str, ...]) -> Grant:
        pod = self._find_pod(name[0], name[1])
        first_seen_us = self._first_seen[name]
        if pod is None:
            return Grant(Owner(OwnerKind.POD, *name, first_seen_us=first_seen_us), device_ids, None, first_seen_us)
        return Grant(Owner(OwnerKind.POD, *name, pod_uid=pod.uid), device_ids, pod.started_us, first_seen_us)


@dataclass(frozen=True, slots=True)
class PollState:
    """The last poll: how long it took, whether it was answered, and what to do if not."""

    up: bool = False
    duration_us: int | None = None
    problem: str = "the kubelet was not asked yet"


class ReservationPoller:
    """Asks the kubelet on a schedule of its own, so that a slow answer delays no sample."""

    def __init__(self, kubelet: Kubelet, book: GrantBook, interval_us: int, monotonic_us: Callable[[], int]) -> None:
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
        self.state = PollState(not answer.stale, now_us - start_us, answer.problem)
        placement = partial(
            place,
            grants=self._book.grants(answer),
            allocatable=tuple(device_id for _, device_id in answer.allocatable or ()),
            unclear=answer.claims > 0,
        )
        self._answers.append((now_us, placement))

    def take(self) -> list[tuple[int, Placement]]:
        """The answers since the last call: when each was given (monotonic), and where it places holders."""
        answers = []
        while self._answers:
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
