"""Whose work a pod is: every platform's pods by its own conventions, and nothing a tenant writes decides who pays."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.collector.workloads.cases import Case, cases, documents, known

from gputally.collector.workloads.chain import MOST_OWNERS
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import LONGEST, VARIABLES, OwnerFacts, OwnerReference, PodFacts
from gputally.collector.workloads.rule_book import OUTERMOST, POD
from gputally.collector.workloads.workload import Claim, Evidence

BOOK = shipped_book()
CASES = cases()
OWN = b"""
version: 1
before:
  - name: ours
    platform: kubernetes
    kind: Team
    claimed:
      above: [nobody, ReplicaSet.apps]
      labels: {acme.example/team: }
      name: label acme.example/team
after:
  - name: a-vm
    platform: kubevirt
    owner: VirtualMachineInstance.kubevirt.io
  - name: never
    kind: Team
    claimed: {above: anything, labels: {acme.example/team: }, name: label acme.example/team}
facts:
  - name: our-user
    labels: {acme.example/user: }
    take: {user: label acme.example/user, queue: text ours}
"""
OWN_BOOK = shipped_book(OWN)

# Every fixture.


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fixture_pod_is_whose_its_file_says(case: Case) -> None:
    found = case.resolve(BOOK)
    assert known(found) == dict(case.expected)
    assert found.namespace == case.pod["metadata"]["namespace"]


def test_every_shipped_rule_is_the_answer_to_a_fixture() -> None:
    """A rule that no fixture needs is one that nobody has seen work."""
    rules = {rule.name for tier in (BOOK.shipped.owners, BOOK.shipped.facts) for rule in tier} | {OUTERMOST, POD}
    used = {found for case in CASES for found in (case.expected["rule"], *case.expected.get("facts", ()))}
    assert used == rules


def test_every_fixture_file_names_its_source() -> None:
    assert all(document["source"] for document in documents().values())


def test_every_platform_has_a_fixture() -> None:
    named = {case.expected.get("platform") for case in CASES}
    assert named == {
        *("kubernetes", "kubeflow", "kserve", "ray", "spark", "argo", "tekton", "airflow"),
        *("kueue", "volcano", "run:ai", "nim", "triton", None),
    }


# Precedence.


def links(*keys: str) -> tuple[PodFacts, Mapping[str, OwnerFacts]]:
    """A pod and its owners, the nearest first, each with the kind's name in small letters."""
    references = [
        OwnerReference(f"{key.partition('.')[2]}/v1".lstrip("/"), key.partition(".")[0], key.lower(), f"uid-{i}", True)
        for i, key in enumerate(keys)
    ]
    above = [(one,) for one in references[1:]] + [()]
    objects = {one.uid: OwnerFacts(one.uid, owners=up) for one, up in zip(references, above, strict=True)}
    return PodFacts("research", "p", owners=tuple(references[:1])), objects


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["RayCluster.ray.io", "Workflow.argoproj.io"], "Workflow"),
        (["Workflow.argoproj.io", "RayCluster.ray.io"], "RayCluster"),
        (["Job.batch", "JobSet.jobset.x-k8s.io", "TrainJob.trainer.kubeflow.org"], "TrainJob"),
        (["ReplicaSet.apps", "Deployment.apps", "InferenceService.serving.kserve.io"], "InferenceService"),
        (["PyTorchJob.kubeflow.org", "TeamApp.acme.example"], "PyTorchJob"),
        (["Thing.acme.example", "TeamApp.acme.example"], "TeamApp"),
    ],
)
def test_the_outermost_owner_that_a_platform_knows_wins_whatever_the_order_of_the_rules(
    keys: list[str], kind: str
) -> None:
    """What a person asked for is on top; what that made is its own affair. Unknown operators are not told."""
    pod, objects = links(*keys)
    assert BOOK.resolve(pod, lambda _, one: objects.get(one.uid)).kind == kind


def test_a_label_is_not_asked_about_owners_that_can_be_read() -> None:
    pod, objects = links("Job.batch")
    pod = replace(pod, labels={"jobset.sigs.k8s.io/jobset-name": "others"})
    assert BOOK.resolve(pod, lambda _, one: objects.get(one.uid)).kind == "Job"
    assert BOOK.resolve(pod).evidence is Evidence.CLAIM  # nobody could read the Job's owners


# Users' rules.


def test_a_users_rule_comes_before_those_that_ship() -> None:
    found = OWN_BOOK.resolve(PodFacts("research", "p", labels={"acme.example/team": "red", "runai/queue": "q"}))
    assert (found.kind, found.name, found.rule) == ("Team", "red", "ours")
    assert found.queue == Claim("q", "label runai/queue")


def test_whoever_runs_the_cluster_may_believe_a_label_more_than_the_owners() -> None:
    own = b"""
version: 1
before:
  - name: by-label
    kind: Team
    claimed: {above: anything, labels: {acme.example/team: }, name: label acme.example/team}
"""
    pod, objects = links("ReplicaSet.apps", "Deployment.apps")
    pod = replace(pod, labels={"acme.example/team": "red"})
    found = shipped_book(own).resolve(pod, lambda _, one: objects.get(one.uid))
    assert (found.kind, found.name, found.evidence, found.namespace) == ("Team", "red", Evidence.CLAIM, "research")
    assert OWN_BOOK.resolve(pod, lambda _, one: objects.get(one.uid)).kind == "Deployment"  # a rule without the word


def test_a_users_rule_in_after_knows_what_no_other_does() -> None:
    pod, objects = links("VirtualMachineInstance.kubevirt.io")
    assert OWN_BOOK.resolve(pod, lambda _, one: objects.get(one.uid)).platform == "kubevirt"
    assert BOOK.resolve(pod, lambda _, one: objects.get(one.uid)).platform is None


def test_a_users_facts_come_first() -> None:
    pod = PodFacts("research", "p", labels={"acme.example/user": "ada", "runai/queue": "q", "user": "boss"})
    found = OWN_BOOK.resolve(pod)
    assert found.user == Claim("ada", "label acme.example/user")
    assert found.queue == Claim("ours", "text ours")
    assert found.facts == ("our-user", "runai-queue")  # which still knew the project


def test_what_rules_want_is_known_so_that_nothing_else_is_kept() -> None:
    assert "acme.example/team" in OWN_BOOK.wanted.labels
    assert "acme.example/team" not in BOOK.wanted.labels
    assert {"ray.io/user", "pod-template-hash", "ray.io/cluster"} <= BOOK.wanted.labels
    assert "notebooks.kubeflow.org/creator" in BOOK.wanted.annotations


# Whatever the metadata.

_TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["1", "0", "-3", "a-1", "RayJob", "true", "mpi-operator", "x" * (LONGEST + 1), "podgroup-", "\ud800"]
    ),
    st.from_regex(r"[a-z]{1,5}-2[89][0-9]{6}", fullmatch=True),
)
_LABELS = st.dictionaries(st.sampled_from(sorted(OWN_BOOK.wanted.labels)), _TEXTS, max_size=12)
_ANNOTATIONS = st.dictionaries(st.sampled_from(sorted(OWN_BOOK.wanted.annotations)), _TEXTS, max_size=6)
_KEYS = sorted({key for rule in BOOK.shipped.owners for key in rule.owner} | {"Pod", "Node", "TeamApp.acme.example"})


@st.composite
def _references(draw: st.DrawFn) -> tuple[OwnerReference, ...]:
    found = []
    for _ in range(draw(st.integers(0, 3))):
        kind, _, group = draw(st.sampled_from(_KEYS)).partition(".")
        uid = draw(st.sampled_from("abcdefghijklmnop"))
        found.append(OwnerReference(f"{group}/v1".lstrip("/"), kind, draw(_TEXTS), uid, draw(st.booleans())))
    return tuple(found)


_PODS = st.builds(
    PodFacts,
    st.sampled_from(["research", "team-b"]),
    st.just("p"),
    st.none() | st.just("a"),
    _LABELS,
    _ANNOTATIONS,
    _references(),
    st.dictionaries(st.sampled_from(VARIABLES), _TEXTS),
)
# A cluster in which every UID may own every other, circles included.
_CLUSTERS = st.dictionaries(
    st.sampled_from("abcdefghijklmnop"), st.builds(OwnerFacts, st.none(), _LABELS, _ANNOTATIONS, _references())
)


@settings(max_examples=50)
@given(pod=_PODS, cluster=_CLUSTERS, readable=st.booleans())
def test_any_pod_is_somebodys_and_its_namespace_pays(
    pod: PodFacts, cluster: dict[str, OwnerFacts], readable: bool
) -> None:
    """It never raises, says the same twice, asks a bounded number of owners, and no rule moves what is paid."""
    asked: list[str] = []

    def lookup(namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        assert namespace == pod.namespace
        asked.append(reference.uid)
        found = cluster.get(reference.uid) if readable else None
        return None if found is None else replace(found, uid=reference.uid)

    for book in (BOOK, OWN_BOOK):
        asked.clear()
        found = book.resolve(pod, lookup)
        assert len(asked) <= MOST_OWNERS
        assert len(asked) == len(set(asked))
        assert found == book.resolve(pod, lookup)
        assert found.namespace == pod.namespace
        assert found.evidence is not Evidence.CLAIM or found.uid is None  # a claim has no proof
        for value in (found.role, found.run, found.step, found.revision, found.group, found.user, found.queue):
            text = str(value or "")
            assert len(text) <= LONGEST
            assert text.isprintable()
        assert all(number is None or number >= 0 for number in (found.rank, found.replica, found.attempt))


def test_a_long_chain_of_owners_ends() -> None:
    pod, objects = links(*["Thing.acme.example"] * (3 * MOST_OWNERS))
    found = BOOK.resolve(pod, lambda _, one: objects.get(one.uid))
    assert found.uid == f"uid-{MOST_OWNERS - 1}"
