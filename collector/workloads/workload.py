"""The answer: whose work a pod is."""

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """How an owner is known."""

    OWNER = "owner"  # by the owner references
    CLAIM = "claim"  # by what somebody wrote on the pod, because no owner reference says it
    POD = "pod"  # nobody owns the pod


@dataclass(frozen=True, slots=True)
class Claim:
    """A text that a tenant can write as it likes, and where it stands. Nothing that is paid may rest on it."""

    text: str
    source: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Workload:
    """Whose work a pod is, in the words of its platform; None is unknown.

    `namespace` is the pod's own and the only field that says who pays; no rule can change it. All others describe:
    they are taken from what the pod's author wrote, or made a controller write.

    `rank`: the pod's place among those that work together; `replica`: which of several such groups; `attempt`: as the
    platform counts (some from 0, some from 1). `group`: what is scheduled together (a PodGroup, a Kueue workload).
    `rule` decided who it is, the rules in `facts` added something. `refused`: what a rule asked for and was longer than
    a name can be, or not printable; such a text is as good as none, for half of it could be another's name.
    """

    namespace: str
    platform: str | None
    kind: str
    name: str
    uid: str | None
    evidence: Evidence
    rule: str
    facts: tuple[str, ...] = ()
    role: str | None = None
    rank: int | None = None
    replica: int | None = None
    attempt: int | None = None
    run: str | None = None
    experiment: str | None = None
    step: str | None = None
    revision: str | None = None
    group: str | None = None
    queue: Claim | None = None
    cluster_queue: Claim | None = None
    project: Claim | None = None
    user: Claim | None = None
    refused: tuple[str, ...] = ()


TEXTS = ("role", "run", "experiment", "step", "revision", "group")
NUMBERS = ("rank", "replica", "attempt")
CLAIMS = ("queue", "cluster_queue", "project", "user")
