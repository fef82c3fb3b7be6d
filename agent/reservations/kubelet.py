"""Which container holds which device: the kubelet's PodResources v1 API, read over its unix socket.

Reading (`Kubelet`) keeps the last known map through everything that is not a release: a kubelet that is away, a rate
limit, and the answers without a holder that a kubelet gives for a second or so after it started. Parsing is pure.
"""

import re
import threading
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import grpc

from gputally.agent.kube.slices import DRIVER, DraDevice
from gputally.agent.reservations.pod_resources import PodResources
from gputally.proto.podresources_pb2 import (
    AllocatableResourcesResponse,
    ContainerDevices,
    DynamicResource,
    ListPodResourcesResponse,
)

SPACING_US = 1_000_000  # the kubelet allows 10 calls in a burst, to all its callers together; a poll is two
EMPTY_HOLD_US = 30_000_000  # a restarted kubelet knew its pods again after 4 s at most; longer empties are meant

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GPU_ID = re.compile(
    rf"(?:GPU-{_UUID}|MIG-{_UUID}|MIG-GPU-{_UUID}/\d+/\d+)(?:::\d+)?|nvidia\d+(?:/gi\d+)?(?:/vgpu\d+)?"
)
_REPLICA = re.compile(r"(.+?)(?:::\d+|/vgpu\d+)")
_GPU_RESOURCE = re.compile(r"nvidia\.com/(?:gpu|mig-).*")  # network cards and passed-through GPUs are nvidia.com/ too


class ReservationsUnavailable(Exception):
    """No reservations are known. The message is one line that says what to do."""


class SocketMissing(ReservationsUnavailable):
    """There is no socket at the path."""


class SocketForbidden(ReservationsUnavailable):
    """The socket is there, but this process may not use it."""


class KubeletSilent(ReservationsUnavailable):
    """The kubelet does not listen, does not answer in time, or refuses."""


@dataclass(frozen=True, slots=True)
class ContainerReservation:
    """What one container holds of one resource; `device_ids` as the device plugin named them, sorted."""

    namespace: str
    pod: str
    container: str
    resource: str
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class ContainerClaim:
    """A DRA claim on GPUs that one container lists, with all its devices, sorted.

    A container that names one request of a claim is listed with all of the claim's devices all the same. `partial` are
    the devices of which the claim holds a part of the capacity.
    """

    namespace: str
    pod: str
    container: str
    claim_namespace: str
    claim: str
    devices: tuple[DraDevice, ...]
    partial: tuple[DraDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class Reservations:
    """What the kubelet said last. Equal content is equal whatever the order of the answer was.

    `taken_monotonic_us` is when it said so. `stale`: it could not confirm it since, and `problem` says why.
    `allocatable`: (resource, device id) of all that can be held, the last known while the plugin is away; None before
    the kubelet first answered that question.
    """

    taken_monotonic_us: int
    stale: bool
    containers: tuple[ContainerReservation, ...]
    allocatable: tuple[tuple[str, str], ...] | None
    claims: tuple[ContainerClaim, ...] = ()
    problem: str = ""


def is_gpu(resource: str, device_id: str) -> bool:
    """Whether this is (a part of) an NVIDIA GPU: by the id's shape, as resources get renamed, else by the resource."""
    return bool(_GPU_ID.fullmatch(device_id) or _GPU_RESOURCE.fullmatch(resource))


def parse_list(answer: ListPodResourcesResponse) -> tuple[ContainerReservation, ...]:
    """The containers that hold GPUs, sorted; a resource that is listed in pieces becomes one entry."""
    held: list[ContainerReservation] = []
    for pod in answer.pod_resources:
        for container in pod.containers:
            for resource, device_ids in _by_resource(container.devices).items():
                ids = tuple(sorted(device_ids))
                held.append(ContainerReservation(pod.namespace, pod.name, container.name, resource, ids))
    return tuple(sorted(held, key=_order))


def parse_allocatable(answer: AllocatableResourcesResponse) -> tuple[tuple[str, str], ...]:
    """(resource, device id) of every GPU, or part of one, that containers can hold, sorted."""
    by_resource = _by_resource(answer.devices)
    return tuple(sorted((resource, device_id) for resource, ids in by_resource.items() for device_id in ids))


def parse_claims(answer: ListPodResourcesResponse) -> tuple[ContainerClaim, ...]:
    """The DRA claims on GPUs that containers list, sorted; entries that the kubelet repeats are one.

    CDI names are ignored: the kubelet lists those of a claim's earlier devices again with each later one.
    """
    return tuple(
        sorted(
            {
                _claim(pod.namespace, pod.name, container.name, claim)
                for pod in answer.pod_resources
                for container in pod.containers
                for claim in container.dynamic_resources
                if any(part.driver_name == DRIVER for part in claim.claim_resources)
            }
        )
    )


def _claim(namespace: str, pod: str, container: str, claim: DynamicResource) -> ContainerClaim:
    parts = [
        (DraDevice(part.driver_name, part.pool_name, part.device_name), bool(part.share_id))
        for part in claim.claim_resources
        if part.driver_name == DRIVER
    ]
    devices = tuple(sorted({device for device, _ in parts}))
    partial = tuple(sorted({device for device, is_part in parts if is_part}))
    return ContainerClaim(namespace, pod, container, claim.claim_namespace, claim.claim_name, devices, partial)


def remember(
    known: tuple[tuple[str, str], ...] | None,
    offered: tuple[tuple[str, str], ...],
    held: Container[str],
) -> tuple[tuple[str, str], ...]:
    """What is allocatable, given what was known, what is offered now, and the device ids that are held.

    Nothing offered: the plugin is away, and all stays as it was. A device that is missing is unhealthy, or gone: while
    somebody holds a replica of it, their number stays known.
    """
    if not offered:
        return known or ()
    devices = {_replicated(device_id) or device_id for _, device_id in offered}
    missing = [entry for entry in known or () if _replicated(entry[1]) and _replicated(entry[1]) not in devices]
    in_use = {_replicated(device_id) for _, device_id in missing if device_id in held}
    return tuple(sorted({*offered, *(entry for entry in missing if _replicated(entry[1]) in in_use)}))


def _order(held: ContainerReservation) -> tuple[str, str, str, str, tuple[str, ...]]:
    return (held.namespace, held.pod, held.container, held.resource, held.device_ids)


def _replicated(device_id: str) -> str | None:
    """The device of a replica's id; None when the id is no replica's."""
    match = _REPLICA.fullmatch(device_id)
    return match[1] if match else None


def _by_resource(devices: Iterable[ContainerDevices]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in devices:
        ids = {device_id for device_id in entry.device_ids if is_gpu(entry.resource_name, device_id)}
        if ids:
            found.setdefault(entry.resource_name, set()).update(ids)
    return found


class Kubelet:
    """The kubelet behind its PodResources socket. Any thread may poll; polls take turns.

    `spacing_us`: a poll that comes sooner after the last one gets the same answer again.
    """

    def __init__(self, socket: Path, monotonic_us: Callable[[], int], *, spacing_us: int = SPACING_US) -> None:
        self._socket = socket
        self._monotonic_us = monotonic_us
        self._spacing_us = spacing_us
        self._lock = threading.Lock()
        self._api = PodResources(socket)
        self._tried_us: int | None = None
        self._last: Reservations | None = None
        self._error: ReservationsUnavailable | None = None
        self._listener: tuple[int, int, int] | None = None
        self._interrupted = False
        self._empty_since_us: int | None = None

    def poll(self) -> Reservations:
        """What is held now, or the last that is known, marked stale.

        Raises ReservationsUnavailable when nothing is known: the kubelet has not answered once.
        """
        with self._lock:
            now_us = self._monotonic_us()
            if self._tried_us is None or now_us - self._tried_us >= self._spacing_us:
                self._tried_us = now_us
                self._try(now_us)
            if self._last is None:
                error = self._error or KubeletSilent(f"the kubelet at {self._socket} was not asked yet")
                raise type(error)(str(error))
            return self._last

    def close(self) -> None:
        """Let go of the socket, after the poll that is under way. A later poll connects again."""
        with self._lock:
            self._api.close()

    def _try(self, now_us: int) -> None:
        try:
            self._read(now_us)
        except ReservationsUnavailable as error:
            self._error = error
            self._mark_stale(str(error))
        finally:
            self._api.close()  # an open channel's timers would cost more until the next poll than it takes to connect

    def _read(self, now_us: int) -> None:
        try:
            answer = self._api.held()
        except grpc.RpcError as error:
            raise self._failed(error) from error
        self._note_listener()
        containers, claims = parse_list(answer), parse_claims(answer)
        if self._is_gap(now_us, any_held=bool(containers or claims)):
            self._mark_stale("the kubelet has restarted and does not know its pods yet; nothing is released by that")
            return
        allocatable, problem = self._read_allocatable(containers)
        self._last = Reservations(now_us, False, containers, allocatable, claims, problem)

    def _read_allocatable(
        self, holders: tuple[ContainerReservation, ...]
    ) -> tuple[tuple[tuple[str, str], ...] | None, str]:
        """What can be held, and what went wrong. A failure here leaves the list of holders as good as it is."""
        known = self._last.allocatable if self._last else None
        try:
            answer = self._api.allocatable()
        except grpc.RpcError as error:
            return known, f"what can be held is the last known: {self._failed(error)}"
        held = {device_id for container in holders for device_id in container.device_ids}
        return remember(known, parse_allocatable(answer), held), ""

    def _is_gap(self, now_us: int, *, any_held: bool) -> bool:
        """Whether nothing is held because the kubelet has only just started: static pods it knows before all others."""
        held = self._last is not None and (self._last.containers or self._last.claims)
        if any_held or not (self._interrupted and held):
            self._interrupted = False
            self._empty_since_us = None
            return False
        if self._empty_since_us is None:
            self._empty_since_us = now_us
        return now_us - self._empty_since_us < EMPTY_HOLD_US

    def _note_listener(self) -> None:
        """A kubelet that starts makes its socket anew: that shows a restart even where no poll fell into it."""
        try:
            status = self._socket.stat()
        except OSError:
            return  # gone again: the next call says so
        listener = (status.st_dev, status.st_ino, status.st_ctime_ns)
        if self._listener not in (None, listener):
            self._interrupt()
        self._listener = listener

    def _interrupt(self) -> None:
        self._interrupted = True
        self._empty_since_us = None

    def _mark_stale(self, problem: str) -> None:
        if self._last is not None:
            self._last = replace(self._last, stale=True, problem=problem)

    def _failed(self, error: grpc.RpcError) -> ReservationsUnavailable:
        """Take note of a failed call, and say what to do about it."""
        code, details = _status(error)
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return KubeletSilent(f"the kubelet at {self._socket} has too many callers ({details}); asked again later")
        self._interrupt()
        self._api.close()  # a channel that lost its kubelet would wait longer and longer before it looks again
        if code is not grpc.StatusCode.UNAVAILABLE:
            return KubeletSilent(
                f"the kubelet at {self._socket} answers {code.name} ({details}): see the kubelet's log"
            )
        return self._diagnose(details)

    def _diagnose(self, details: str) -> ReservationsUnavailable:
        try:
            self._socket.stat()
        except FileNotFoundError:
            return SocketMissing(
                f"no kubelet socket at {self._socket}: mount its folder from the host, name the right path with "
                "--pod-resources-socket, or turn reservations off with --pod-resources-socket off"
            )
        except PermissionError:
            return self._forbidden()
        except OSError as error:
            return KubeletSilent(f"{self._socket}: {error.strerror}: name the right path with --pod-resources-socket")
        if "ermission denied" in details:
            return self._forbidden()
        return KubeletSilent(f"the kubelet does not listen on {self._socket} ({details}): is it running?")

    def _forbidden(self) -> SocketForbidden:
        return SocketForbidden(f"no permission to use {self._socket}: run the agent as uid 0 (no capability is needed)")


def _status(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Code and last words of a failed call."""
    call = cast("grpc.Call", error)  # what a unary call raises is both; the base class does not say so
    return call.code(), (call.details() or "").rsplit("last error: ", 1)[-1]
