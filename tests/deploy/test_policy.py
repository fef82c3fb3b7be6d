"""The manifests ask for no right that they do not need, and the policy notices each one that they would."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.deploy.policy import Finding, findings
from tests.deploy.rendered import FOLDERS, ROOT, Object, all_folders, named, of_kind

AGENT = "DaemonSet/gputally-agent"
# What the agent needs and may have, everywhere; docs/security.md says why.
AGENT_NEEDS = {
    Finding("host-pid", AGENT),
    Finding("root", AGENT),
    Finding("host-path /var/lib/gputally", AGENT),
    Finding("host-path /var/lib/kubelet/pod-resources", AGENT),
    Finding("writable /var/lib/gputally", f"{AGENT}/agent"),
}
# What only one overlay may have; docs/kubernetes.md says so.
GKE_NEEDS = {
    Finding("host-path /home/kubernetes/bin/nvidia", AGENT),
    Finding("host-path /dev", AGENT),
    Finding("writable /dev", f"{AGENT}/agent"),
    Finding("privileged", f"{AGENT}/agent"),
    Finding("privilege-escalation", f"{AGENT}/agent"),
}
# What owns pods is read by its kinds: docs/workloads.md.
WORKLOADS_NEED = {Finding("other-resources", "ClusterRole/gputally-collector-workloads")}
# Quotas are read where queues are: docs/queues.md.
QUEUES_NEED = {Finding("other-resources", "ClusterRole/gputally-collector-queues")}
MORE = {
    "daemonset/overlays/gke": GKE_NEEDS,
    "collector/overlays/workloads": WORKLOADS_NEED,
    "collector/overlays/queues": QUEUES_NEED,
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_breaks_a_rule_but_what_is_named_here(folder: str) -> None:
    """Equal and not a subset: an exception that nothing needs any more has to go."""
    objects = all_folders()[folder]
    allowed = AGENT_NEEDS if any(each["kind"] == "DaemonSet" for each in objects) else set()
    assert findings(objects) == allowed | MORE.get(folder, set())


def test_the_one_privileged_container_is_told_of() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    assert re.search(r"`gke`.*privileged", page)


def test_a_privileged_agent_sees_device_files_that_come_after_it() -> None:
    """It begins before a new node's driver is installed, and the runtime copies what is in /dev at that moment."""
    for folder in (each for each in FOLDERS if each.startswith("daemonset/")):
        for each in of_kind(all_folders()[folder], "DaemonSet"):
            spec = each["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            paths = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
            mounts = {mount["mountPath"]: paths[mount["name"]] for mount in container["volumeMounts"]}
            assert (mounts.get("/dev") == "/dev") is bool(container["securityContext"].get("privileged"))


def pod(objects: list[Object]) -> Object:
    spec: Object = named(objects, "Deployment", "gputally-collector")["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object]) -> Object:
    only: Object = pod(objects)["containers"][0]
    return only


def role(objects: list[Object]) -> Object:
    first: Object = named(objects, "ClusterRole", "gputally-collector")["rules"][0]
    return first


def binding(objects: list[Object]) -> Object:
    return named(objects, "ClusterRoleBinding", "gputally-collector")


def account(objects: list[Object]) -> Object:
    return named(objects, "ServiceAccount", "gputally-collector")


def service(objects: list[Object]) -> Object:
    return named(objects, "Service", "gputally-collector")


def put(where: Callable[[list[Object]], Object], path: str, value: Any) -> Callable[[list[Object]], None]:
    """A change: the field at a dotted path of what `where` finds is set, or removed by None."""

    def change(objects: list[Object]) -> None:
        *folders, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        place: Any = where(objects)
        for key in folders:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


MUTATIONS = [
    ("privileged", put(container, "securityContext.privileged", True)),
    ("privilege-escalation", put(container, "securityContext.allowPrivilegeEscalation", None)),
    ("added-capabilities", put(container, "securityContext.capabilities.add", ["SYS_ADMIN"])),
    ("kept-capabilities", put(container, "securityContext.capabilities.drop", ["NET_RAW"])),
    ("writable-root", put(container, "securityContext.readOnlyRootFilesystem", None)),
    ("writable-root", put(container, "securityContext.readOnlyRootFilesystem", False)),
    ("overrides-pod", put(container, "securityContext.runAsUser", 0)),
    ("overrides-pod", put(container, "securityContext.seccompProfile", {"type": "Unconfined"})),
    ("no-limits", put(container, "resources.limits", None)),
    ("no-limits", put(container, "resources.limits.memory", None)),
    ("no-limits", put(container, "resources.limits.cpu", None)),
    ("no-requests", put(container, "resources.requests.memory", None)),
    ("latest-tag", put(container, "image", "registry.example.com:5000/gputally-collector:latest")),
    ("latest-tag", put(container, "image", "registry.example.com:5000/gputally-collector")),
    ("writable tls", put(container, "volumeMounts.0.readOnly", None)),
    ("writable /etc", put(pod, "volumes.1", {"name": "tmp", "hostPath": {"path": "/etc"}})),
    ("host-path /etc", put(pod, "volumes.1", {"name": "tmp", "hostPath": {"path": "/etc"}})),
    ("host-network", put(pod, "hostNetwork", True)),
    ("host-pid", put(pod, "hostPID", True)),
    ("host-ipc", put(pod, "hostIPC", True)),
    ("root", put(pod, "securityContext.runAsNonRoot", None)),
    ("root", put(pod, "securityContext.runAsUser", 0)),
    ("seccomp", put(pod, "securityContext.seccompProfile.type", "Unconfined")),
    ("seccomp", put(pod, "securityContext.seccompProfile", None)),
    ("default-account", put(pod, "serviceAccountName", "default")),
    ("token-not-decided", put(pod, "automountServiceAccountToken", None)),
    ("token-not-needed", put(pod, "serviceAccountName", "nobody")),
    ("service-links", put(pod, "enableServiceLinks", None)),
    ("wildcard-verbs", put(role, "verbs", ["*"])),
    ("wildcard-resources", put(role, "resources", ["*"])),
    ("wildcard-resources", put(role, "apiGroups", ["*"])),
    ("secrets", put(role, "resources", ["nodes", "secrets"])),
    ("secrets", put(role, "resources", ["*"])),
    ("other-resources", put(role, "resources", ["nodes/proxy"])),
    ("other-resources", put(role, "nonResourceURLs", ["/metrics"])),
    ("other-verbs", put(role, "verbs", ["list", "delete"])),
    ("other-verbs", put(role, "verbs", ["create"])),
    ("role-of-others", put(binding, "roleRef.name", "cluster-admin")),
    ("bound-to-others", put(binding, "subjects.0.kind", "Group")),
    ("open-to-the-world", put(service, "spec.type", "LoadBalancer")),
    ("token-for-all-pods", put(account, "automountServiceAccountToken", True)),
]


@pytest.mark.parametrize(("rule", "change"), MUTATIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_the_policy_can_fail(rule: str, change: Callable[[list[Object]], None]) -> None:
    """Each rule is broken once, in objects that break none."""
    objects = copy.deepcopy(all_folders()["collector/base"])
    assert findings(objects) == set()
    change(objects)
    assert rule in {finding.rule for finding in findings(objects)}


def test_every_rule_was_broken_once() -> None:
    """A rule without a mutation may be one that never speaks."""
    source = (ROOT / "tests" / "deploy" / "policy.py").read_text()
    rules = set(re.findall(r'yield "([a-z-]+)"', source)) | set(re.findall(r'Finding\("([a-z-]+)"', source))
    assert rules == {rule for rule, _ in MUTATIONS if " " not in rule}
