"""Whose process it is: by cgroup and API, never by guess."""

import pytest

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.states import OwnerKind
from gputally.agent.attribution.identity import Identity, NoPods, PodName
from gputally.agent.held import NOBODY, Held
from gputally.agent.sample import ContainerRef, GpuProcess, Process, ProcessKind, SlurmJob

TRAIN = PodName("uid-a", "research", "train")
MAIN = Owner(OwnerKind.POD, "research", "train", "main", "uid-a")
SIDE = Owner(OwnerKind.POD, "research", "train", "side", "uid-a")


class Pods:
    def of_uid(self, uid: str) -> PodName | None:
        return TRAIN if uid == "uid-a" else None

    def of_container(self, container_id: str) -> tuple[PodName, str] | None:
        return (TRAIN, "main") if container_id == "c-main" else None


def process(container: ContainerRef | None) -> GpuProcess:
    return GpuProcess(7, ProcessKind.COMPUTE, None, Process(7, 1, container, "user-1000", "session-1.scope"))


def in_pod(uid: str | None, container: str | None, kind: str = "pod") -> GpuProcess:
    return process(ContainerRef(uid, container, None, None, kind))


NAMED = Identity(Pods(), kubernetes=True)


def test_a_known_container_is_its_owner() -> None:
    assert NAMED.owners(in_pod("uid-a", "c-main"), NOBODY) == (MAIN,)
    assert NAMED.owners(in_pod(None, "c-main", "container"), NOBODY) == (MAIN,)


def test_an_unknown_container_of_a_known_pod_goes_to_the_pods_only_holder() -> None:
    assert list(NAMED.owners(in_pod("uid-a", "c-pause"), Held((Holding(SIDE),)))) == [SIDE]


def test_or_evenly_to_its_holders_or_to_the_pod_as_such() -> None:
    assert list(NAMED.owners(in_pod("uid-a", None), Held((Holding(SIDE), Holding(MAIN))))) == [MAIN, SIDE]
    assert NAMED.owners(in_pod("uid-a", None), NOBODY) == (Owner(OwnerKind.POD, "research", "train", "", "uid-a"),)


def test_a_pod_of_the_same_name_that_came_before_is_not_its_holder() -> None:
    """Its processes may outlive it for a while: they are its own."""
    again = Owner(OwnerKind.POD, "research", "train", "main", "uid-again")
    assert list(NAMED.owners(in_pod("uid-a", None), Held((Holding(again),)))) == [
        Owner(OwnerKind.POD, "research", "train", "", "uid-a")
    ]
    assert NAMED.owners(in_pod("uid-a", "c-main"), Held((Holding(again),))) == (MAIN,)


def test_a_container_with_admin_access_is_itself_though_its_pod_holds_the_device() -> None:
    held = Held((Holding(SIDE),), monitors=frozenset({MAIN}))
    assert NAMED.owners(in_pod("uid-a", "c-main"), held) == (MAIN,)


def test_an_unknown_container_of_a_pod_that_only_monitors_is_the_monitor() -> None:
    assert list(NAMED.owners(in_pod("uid-a", None), Held(monitors=frozenset({MAIN})))) == [MAIN]


def test_a_container_of_a_pod_that_holds_a_claim_is_itself_and_counts_as_the_holder() -> None:
    pod = Owner(OwnerKind.POD, "research", "train", "", "uid-a")
    held = Held((Holding(pod, containers=(SIDE,)),))
    assert NAMED.owners(in_pod("uid-a", "c-main"), held) == (MAIN,)
    assert held.as_held(MAIN) == pod


def test_a_pod_that_cannot_be_named_is_unattributed() -> None:
    assert NAMED.owners(in_pod("uid-x", "c-x"), NOBODY) == ()
    assert Identity(NoPods(), kubernetes=True).owners(in_pod("uid-a", "c-main"), NOBODY) == ()


def test_a_process_that_ended_before_proc_was_read_is_unattributed() -> None:
    assert NAMED.owners(GpuProcess(7, ProcessKind.COMPUTE), NOBODY) == ()


def test_a_process_outside_containers_is_the_hosts() -> None:
    assert NAMED.owners(process(None), NOBODY) == (Owner(OwnerKind.HOST, user="user-1000", unit="session-1.scope"),)


PLAIN = Identity(NoPods(), kubernetes=False)
USER = "user:user-1000"


def test_without_kubernetes_the_namespace_is_the_user_and_the_pod_the_unit() -> None:
    assert PLAIN.owners(process(None), NOBODY) == (Owner(OwnerKind.POD, USER, "session-1.scope"),)
    outside = GpuProcess(7, ProcessKind.COMPUTE, None, Process(7, 1, None, "user-1000"))
    assert PLAIN.owners(outside, NOBODY) == (Owner(OwnerKind.POD, USER, "processes"),)


def test_a_container_is_its_users_only_where_there_are_no_pods() -> None:
    docker = process(ContainerRef(None, "c" * 64, None, "docker", "container"))
    assert NAMED.owners(docker, NOBODY) == ()
    assert PLAIN.owners(docker, NOBODY) == (Owner(OwnerKind.POD, USER, "docker-cccccccccccc"),)
    unknown = in_pod(None, "c" * 64, "container")
    assert PLAIN.owners(unknown, NOBODY) == (Owner(OwnerKind.POD, USER, "container-cccccccccccc"),)


def test_a_users_own_container_is_never_a_pods_whatever_its_id() -> None:
    """On a node of Kubernetes the API knows containers by their ids, and anybody may call a scope like one."""
    forged = process(ContainerRef(None, "c-main", None, "containerd", "user"))
    assert NAMED.owners(forged, NOBODY) == (Owner(OwnerKind.HOST, user="user-1000", unit="session-1.scope"),)
    assert PLAIN.owners(forged, NOBODY) == (Owner(OwnerKind.POD, USER, "containerd-c-main"),)


@pytest.mark.parametrize("kind", ["pod", "container", "monitor"])
def test_where_there_are_no_pods_nobody_escapes_by_the_name_of_a_cgroup(kind: str) -> None:
    """What looks like a pod's is the user's that it runs as: unattributed it would be the platform's."""
    like_a_pod = in_pod("uid-x" if kind == "pod" else None, "c" * 64 if kind != "monitor" else None, kind)
    unit = "session-1.scope" if kind == "monitor" else "container-cccccccccccc"
    assert PLAIN.owners(like_a_pod, NOBODY) == (Owner(OwnerKind.POD, USER, unit),)


JOB = Owner(OwnerKind.POD, "user:alice", "job_42", pod_uid="job_42")


def in_job(user: str, container: ContainerRef | None = None) -> GpuProcess:
    job = SlurmJob("job_42", user)
    return GpuProcess(7, ProcessKind.COMPUTE, None, Process(7, 1, container, "root", "slurmstepd.scope", job=job))


def test_a_process_of_a_slurm_job_is_the_jobs_whoever_it_runs_as_and_whatever_container_it_is_in() -> None:
    nested = ContainerRef(None, "c" * 64, None, "podman", "container")
    assert PLAIN.owners(in_job("alice"), NOBODY) == PLAIN.owners(in_job("alice", nested), NOBODY) == (JOB,)


def test_slurms_own_word_on_whose_a_job_is_wins_over_the_process() -> None:
    class Jobs(Pods):
        def of_uid(self, uid: str) -> PodName | None:
            return PodName(uid, "user:alice", uid) if uid == "job_42" else None

    assert Identity(Jobs(), kubernetes=False).owners(in_job("root"), NOBODY) == (JOB,)


def test_a_path_that_looks_like_a_job_means_nothing_on_a_node_of_kubernetes() -> None:
    assert NAMED.owners(in_job("alice"), NOBODY) == (Owner(OwnerKind.HOST, user="root", unit="slurmstepd.scope"),)
