"""Who and what a line is about: owners, holdings and the key of a line."""

from dataclasses import dataclass
from fractions import Fraction

from gputally.accounting.states import Basis, OwnerKind, Reason

WHOLE_GPU = "gpu"  # the partition that is the whole device; the platform's partition too
REPLICA = "replica"  # all replicas of a device that one owner holds together

_USER = "user:"  # no namespace of Kubernetes has a colon in its name


def user_namespace(user: str) -> str:
    """The namespace that a user is where there is no Kubernetes; `user` is a login name, or a uid without one.

    A directory may give names that /etc/passwd could not hold. What divides names elsewhere, and what cannot be seen,
    is written as in a URL (`%2F`), so that no two users are one.
    """
    return _USER + "".join(_url_escaped(sign) if _is_odd(sign) else sign for sign in user)


def _is_odd(sign: str) -> bool:
    return sign in "%/: " or not sign.isprintable()


def _url_escaped(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode())


def is_user(namespace: str) -> bool:
    """Whether a namespace is a user and not one of Kubernetes."""
    return namespace.startswith(_USER)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who time is charged to.

    A container of a pod is (namespace, pod, container, pod_uid); while its UID is not known, `first_seen_us`
    (microseconds since the epoch) keeps a re-created pod of the same name apart. A host process has user and unit. On
    a machine without Kubernetes the namespace is a user (`user_namespace`), and the pod his Slurm job or systemd unit.
    """

    kind: OwnerKind
    namespace: str = ""
    pod: str = ""
    container: str = ""
    pod_uid: str = ""
    first_seen_us: int = 0
    user: str = ""
    unit: str = ""

    @property
    def text(self) -> str:
        """The key as text; rounding ties are broken by comparing it."""
        if self.kind is OwnerKind.PLATFORM:
            return "platform"
        if self.kind is OwnerKind.HOST:
            return f"host/{self.user}/{self.unit}"
        uid = self.pod_uid or f"@{self.first_seen_us}"
        return f"pod/{uid}/{self.namespace}/{self.pod}/{self.container}"


PLATFORM = Owner(OwnerKind.PLATFORM)


@dataclass(frozen=True, slots=True)
class Holding:
    """An owner holds a partition of a device; `share` is that partition's part of the device, in (0, 1].

    `containers`: a DRA claim is held by the pod, which is the owner without a container; its amounts are split evenly
    over these containers, which list the claim. Empty: the owner holds for itself.
    """

    owner: Owner
    partition: str = WHOLE_GPU
    share: Fraction = Fraction(1)
    containers: tuple[Owner, ...] = ()


@dataclass(frozen=True, slots=True)
class LineKey:
    """The key of a line within one device: two amounts with the same key are one line."""

    partition: str
    owner: Owner
    basis: Basis
    reason: Reason = Reason.NONE

    @property
    def text(self) -> tuple[str, str, str, str]:
        """The key as text, in the order in which ties of rounding are broken."""
        return (self.partition, self.owner.text, self.basis.value, self.reason.value)


PLATFORM_KEY = LineKey(WHOLE_GPU, PLATFORM, Basis.NONE)
