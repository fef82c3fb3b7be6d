"""What no object below deploy/ may do: pure functions over rendered objects, each finding with the rule's name."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.deploy.rendered import Object, containers, pod_template

READ = {"get", "list", "watch"}
REVIEWS = {"tokenreviews", "subjectaccessreviews"}
READABLE = {"pods", "nodes", "namespaces", "resourceslices", "resourceclaims"}


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`where` is KIND/NAME, and the container where it is about one."""

    rule: str
    where: str


def findings(objects: list[Object]) -> set[Finding]:
    """Everything that breaks a rule."""
    bound = set(_bound_accounts(objects))
    found: set[Finding] = set()
    for each in objects:
        where = f"{each['kind']}/{each['metadata']['name']}"
        template = pod_template(each)
        if template:
            found |= {Finding(rule, where) for rule in _pod(template["spec"], bound)}
            for container in containers(template):
                at = f"{where}/{container['name']}"
                found |= {Finding(rule, at) for rule in _container(container, template["spec"])}
        if each["kind"] in ("Role", "ClusterRole"):
            found |= {Finding(rule, where) for given in each.get("rules") or () for rule in _role(given)}
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            found |= {Finding(rule, where) for rule in _binding(each)}
        if each["kind"] == "Service" and each["spec"].get("type", "ClusterIP") != "ClusterIP":
            found.add(Finding("open-to-the-world", where))
        if each["kind"] == "ServiceAccount" and each.get("automountServiceAccountToken") is not False:
            found.add(Finding("token-for-all-pods", where))
    return found


def _bound_accounts(objects: list[Object]) -> Iterator[str]:
    for each in objects:
        if each["kind"].endswith("RoleBinding"):
            yield from (subject["name"] for subject in each["subjects"])


def _pod(spec: Object, bound: set[str]) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if spec.get("hostNetwork"):
        yield "host-network"
    if spec.get("hostIPC"):
        yield "host-ipc"
    if spec.get("hostPID"):
        yield "host-pid"
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield "root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp"
    account, wants_token = spec.get("serviceAccountName", "default"), spec.get("automountServiceAccountToken")
    if account == "default":
        yield "default-account"
    if wants_token is None:
        yield "token-not-decided"
    if wants_token and account not in bound:
        yield "token-not-needed"
    if spec.get("enableServiceLinks") is not False:
        yield "service-links"
    yield from (f"host-path {each['hostPath']['path']}" for each in spec.get("volumes", ()) if "hostPath" in each)


def _container(container: Object, spec: Object) -> Iterator[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "privilege-escalation"
    if capabilities.get("add"):
        yield "added-capabilities"
    if "ALL" not in capabilities.get("drop", ()):
        yield "kept-capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "writable-root"
    if context.get("runAsUser") == 0 or context.get("seccompProfile") or context.get("runAsNonRoot") is False:
        yield "overrides-pod"
    yield from _image(container["image"])
    yield from _resources(container.get("resources", {}))
    yield from _mounts(container, spec)


def _image(image: str) -> Iterator[str]:
    _, _, tag = image.rpartition("/")[2].partition(":")
    if not tag or tag == "latest":
        yield "latest-tag"


def _resources(resources: Object) -> Iterator[str]:
    if not {"cpu", "memory"} <= resources.get("limits", {}).keys():
        yield "no-limits"
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
        yield "no-requests"


def _mounts(container: Object, spec: Object) -> Iterator[str]:
    """What of the host, of ConfigMaps and Secrets may be written to."""
    volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
    for mount in container.get("volumeMounts", ()):
        volume = volumes.get(mount["name"], {"persistentVolumeClaim": {}})
        if mount.get("readOnly") or "emptyDir" in volume or "persistentVolumeClaim" in volume:
            continue
        yield f"writable {volume.get('hostPath', {}).get('path', mount['name'])}"


def _role(rule: Object) -> Iterator[str]:
    verbs, resources = set(rule["verbs"]), set(rule.get("resources", ()))
    if "*" in verbs:
        yield "wildcard-verbs"
    if "*" in resources or "*" in rule.get("apiGroups", ()):
        yield "wildcard-resources"
    if resources & {"secrets", "*"}:
        yield "secrets"
    if resources - READABLE - REVIEWS - {"*", "secrets"} or rule.get("nonResourceURLs"):
        yield "other-resources"  # such as nodes/proxy, which is a shell on every node
    allowed = READ if resources & READABLE or not resources <= REVIEWS else {"create"}
    if verbs - allowed - {"*"}:
        yield "other-verbs"


def _binding(binding: Object) -> Iterator[str]:
    if not binding["roleRef"]["name"].startswith("gputally-"):
        yield "role-of-others"
    if any(subject["kind"] != "ServiceAccount" for subject in binding["subjects"]):
        yield "bound-to-others"
