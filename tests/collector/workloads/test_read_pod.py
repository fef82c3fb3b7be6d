"""Pods from the API: only what is asked for is kept, nothing is too long, and no form of an answer raises."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.pod import LONGEST, VARIABLES, OwnerReference
from gputally.collector.workloads.read_pod import Wanted, read_owner, read_pod

WANTED = Wanted(frozenset({"team"}), frozenset({"note"}))
BOOK = shipped_book()
_NAMES = st.sampled_from(
    (
        *("metadata", "spec", "labels", "annotations", "ownerReferences", "containers", "env", "name", "value"),
        *("kind", "apiVersion", "uid", "namespace", "controller", "team", "ray.io/cluster", "MLFLOW_RUN_ID"),
    )
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=30,
)


def test_only_labels_and_annotations_that_a_rule_wants_are_kept() -> None:
    """Annotations of one pod may have 256 KiB, and there are thousands of pods."""
    raw = {
        "metadata": {"namespace": "n", "name": "p", "labels": {"team": "a", "x": "b"}, "annotations": {"y": "z" * 9999}}
    }
    pod = read_pod(raw, WANTED)
    assert pod is not None
    assert (pod.labels, pod.annotations) == ({"team": "a"}, {})


def test_a_text_that_is_too_long_is_cut_and_known_to_be() -> None:
    raw = {"metadata": {"namespace": "n", "name": "p", "labels": {"team": "a" * 9999}}}
    pod = read_pod(raw, WANTED)
    assert pod is not None
    assert len(pod.labels["team"]) == LONGEST + 1


def test_a_pod_without_a_name_or_namespace_is_none() -> None:
    assert read_pod({"metadata": {"name": "p"}}, WANTED) is None
    assert read_pod({"metadata": {"namespace": "n", "name": "p" * (LONGEST + 1)}}, WANTED) is None
    assert read_owner({"metadata": {"name": "o"}}, WANTED) is None


def test_owner_references_that_are_incomplete_are_left_out() -> None:
    whole = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}
    references = [whole | {"controller": True}, {**whole, "uid": ""}, {**whole, "name": "a\nb"}, {"kind": "Job"}, 7]
    owner = read_owner({"metadata": {"uid": "o", "ownerReferences": references}}, WANTED)
    assert owner is not None
    assert owner.owners == (OwnerReference("batch/v1", "Job", "j", "u", controller=True),)
    assert owner.owners[0].key == "Job.batch"
    assert OwnerReference("v1", "Pod", "p", "u").key == "Pod"


def test_of_the_environment_only_plain_texts_of_the_list_are_read() -> None:
    secret = {"name": VARIABLES[0], "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    env = [secret, {"name": "HF_TOKEN", "value": "hf_x"}, {"name": VARIABLES[1], "value": "7"}]
    pod = read_pod({"metadata": {"namespace": "n", "name": "p"}, "spec": {"containers": [{"env": env}]}}, WANTED)
    assert pod is not None
    assert pod.variables == {VARIABLES[1]: "7"}


@given(_JSON, _JSON)
def test_no_answer_raises_and_what_is_read_can_be_resolved(metadata: object, spec: object) -> None:
    named = {"namespace": "n", "name": "p", **metadata} if isinstance(metadata, dict) else metadata
    pod = read_pod({"metadata": named, "spec": spec}, BOOK.wanted)
    if pod is not None:
        owner = read_owner({"metadata": metadata}, BOOK.wanted)
        assert BOOK.resolve(pod, lambda _, __: owner).namespace == pod.namespace
    assert read_pod(metadata, WANTED) is None or isinstance(metadata, dict)
