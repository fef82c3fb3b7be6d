"""What is known of a pod and of the objects that own it: their metadata, and a few variables of the environment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LONGEST = 253  # characters: what Kubernetes allows for a name. Longer texts are somebody's state, not a name
# The only variables of a container that are looked at; a value that comes from a Secret or a field is never read.
VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@dataclass(frozen=True, slots=True)
class OwnerReference:
    """Who an object says it belongs to. A tenant can write it, but only about objects of its own namespace."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False

    @property
    def group(self) -> str:
        """The API group; empty for the core's."""
        return self.api_version.rpartition("/")[0]

    @property
    def key(self) -> str:
        """Kind and API group as rules name them: `Job.batch`, or `Pod` in the core's group."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """The metadata of an object that owns a pod, or owns what owns it."""

    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[OwnerReference, ...] = ()


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the rules may know of a pod. `variables`: of `VARIABLES`, those that its containers declare as plain text.

    Labels and annotations are what somebody who may create pods wrote there. The namespace is not: nobody can create a
    pod in a namespace without the right to it.
    """

    namespace: str
    name: str
    uid: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[OwnerReference, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None


# What reads the owner that a reference in a namespace names; None where it may not, or there is none (any more).
Lookup = Callable[[str, OwnerReference], OwnerFacts | None]


def unreadable(namespace: str, reference: OwnerReference) -> OwnerFacts | None:  # noqa: ARG001 - a Lookup
    """The lookup of somebody who may read no owners."""
    return None
