"""Whether the kubelet tells who holds which GPU, and what can be held."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.reservations.kubelet import (
    Kubelet,
    Reservations,
    ReservationsUnavailable,
    SocketForbidden,
    SocketMissing,
)

NAME = "kubelet"
_FOLDER = "mount the node's /var/lib/kubelet/pod-resources read-only, or set --pod-resources-socket PATH (or off)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kubelet said, or why it said nothing; both None: it is not asked."""

    reservations: Reservations | None = None
    refusal: ReservationsUnavailable | None = None

    @property
    def has_claims(self) -> bool:
        """Whether a DRA claim holds a GPU of this node; no, where that is not known."""
        return bool(self.reservations and self.reservations.claims)


def is_there(socket: Path) -> bool:
    """Whether there is a kubelet, as far as this user may see."""
    try:
        return socket.exists()
    except OSError:  # such as a folder that this user may not enter, which the kubelet's own line tells
        return False


def ask(socket: Path | Literal["off", "scenario"], monotonic_us: Callable[[], int]) -> Answer:
    """Ask the kubelet both of its questions, once, with the agent's own reader."""
    if not isinstance(socket, Path):
        return Answer()
    try:
        return Answer(Kubelet(socket, monotonic_us).poll())
    except ReservationsUnavailable as error:
        return Answer(refusal=error)


def check(
    socket: Path | Literal["off", "scenario"],
    answer: Callable[[], Answer],
    offers_dra: Callable[[], bool],
    *,
    in_pod: bool,
) -> Iterator[Finding]:
    """Judge what the kubelet answers; `offers_dra`: a DRA driver has GPUs here; the kubelet lists held ones."""
    if isinstance(socket, Path):
        yield judge(socket, answer(), offers_dra)
    elif socket == "scenario":
        yield ok(NAME, "the scenario's own")
    elif in_pod:
        yield warn(NAME, "not asked, though this is a pod: no reservation is known", "set --pod-resources-socket")
    else:
        yield ok(NAME, "not asked (--pod-resources-socket off): owners are users and their units")


def judge(socket: Path, answer: Answer, offers_dra: Callable[[], bool]) -> Finding:
    """Whether reservations are known, and what they are made of."""
    if isinstance(answer.refusal, SocketMissing):
        return fail(NAME, f"there is no socket {socket}", _FOLDER)
    if isinstance(answer.refusal, SocketForbidden):
        return fail(NAME, f"this user may not use {socket}", "run the agent as uid 0; it needs no capability")
    if answer.refusal or answer.reservations is None:
        return fail(NAME, f"{answer.refusal}", "`systemctl status kubelet` on the node, and its log")
    said = answer.reservations
    if said.problem:
        return fail(
            NAME,
            f"List answers, GetAllocatableResources does not: {said.problem}",
            "see the kubelet's log and the device plugin: without it, shares of replicas are not known",
        )
    if not (said.allocatable or said.containers or said.claims or offers_dra()):
        return warn(
            NAME,
            "it answers, and knows no GPU that a container could hold",
            "look at the device plugin or the DRA driver of this node; all GPUs are unallocated until then",
        )
    holders = {(held.namespace, held.pod) for held in said.containers}
    holders |= {(claim.namespace, claim.pod) for claim in said.claims}
    return ok(
        NAME, f"GPUs or parts that can be held: {len(said.allocatable or ())}; pods that hold some: {len(holders)}"
    )
