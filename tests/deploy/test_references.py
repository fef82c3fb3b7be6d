"""What refers to something else finds it: labels, ports, accounts, volumes, keys. Looked at with everything applied."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.rendered import (
    DEPLOY,
    FOLDERS,
    Object,
    all_folders,
    containers,
    named,
    new_site,
    of_kind,
    pod_templates,
    render,
)

# What the operator of the cluster makes, or another program does: docs/kubernetes.md.
MADE_ELSEWHERE = {"RuntimeClass": {"nvidia"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """A site with every option taken, and the example's books."""
    folder = tmp_path_factory.mktemp("deploy") / "site"
    new_site(folder, "--driver", "gpu-operator")
    path = folder / "kustomization.yaml"
    path.write_text(path.read_text().replace("  # - ", "  - "))
    books = DEPLOY / "collector" / "examples" / "books.yaml"
    return [*render(folder), *yaml.safe_load_all(books.read_text())]


def labels(template: Object) -> dict[str, str]:
    found: dict[str, str] = template["metadata"]["labels"]
    return found


def selected(objects: list[Object], selector: dict[str, str]) -> list[Object]:
    """The pods that a selector finds."""
    return [pod for _, pod in pod_templates(objects) if selector.items() <= labels(pod).items()]


def ports(pod: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for each in containers(pod) for port in each.get("ports", ())}


def test_workloads_select_their_own_pods_and_no_others(site: list[Object]) -> None:
    for workload, pod in pod_templates(site):
        if workload["kind"] != "CronJob":
            assert selected(site, workload["spec"]["selector"]["matchLabels"]) == [pod]


def test_services_lead_to_ports_that_their_pods_have(site: list[Object]) -> None:
    for service in of_kind(site, "Service"):
        (pod,) = selected(site, service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert ports(pod)[port["targetPort"]] == port["port"]


def test_policies_and_budgets_are_about_pods_that_there_are(site: list[Object]) -> None:
    for each in of_kind(site, "NetworkPolicy"):
        assert len(selected(site, each["spec"]["podSelector"]["matchLabels"])) == 1
    for each in of_kind(site, "PodDisruptionBudget"):
        assert len(selected(site, each["spec"]["selector"]["matchLabels"])) == 1
    for _, pod in pod_templates(site):
        for spread in pod["spec"].get("topologySpreadConstraints", ()):
            assert pod in selected(site, spread["labelSelector"]["matchLabels"])


def test_every_pod_has_a_network_policy_for_both_directions(site: list[Object]) -> None:
    for _, pod in pod_templates(site):
        policies = [
            each["spec"]["policyTypes"]
            for each in of_kind(site, "NetworkPolicy")
            if each["spec"]["podSelector"]["matchLabels"].items() <= labels(pod).items()
        ]
        assert policies == [["Ingress", "Egress"]]


def test_policies_open_the_ports_that_pods_listen_on(site: list[Object]) -> None:
    """All of them, to somebody, and no other."""
    for each in of_kind(site, "NetworkPolicy"):
        (pod,) = selected(site, each["spec"]["podSelector"]["matchLabels"])
        opened = {port["port"] for rule in each["spec"].get("ingress") or () for port in rule["ports"]}
        assert opened == set(ports(pod).values())


def peers(site: list[Object], direction: str, side: str) -> Iterator[tuple[Object, Object, int]]:
    """(the pod that a policy is about, a pod that it names, the port) for each pod that policies name."""
    for each in of_kind(site, "NetworkPolicy"):
        (about,) = selected(site, each["spec"]["podSelector"]["matchLabels"])
        for rule in each["spec"].get(direction) or ():
            for peer in rule.get(side, ()):
                if "podSelector" in peer:
                    (other,) = selected(site, peer["podSelector"]["matchLabels"])
                    yield from ((about, other, port["port"]) for port in rule["ports"])


def test_what_one_policy_lets_out_another_lets_in(site: list[Object]) -> None:
    let_in = {(labels(other)["app.kubernetes.io/name"], port) for _, other, port in peers(site, "ingress", "from")}
    for about, other, port in peers(site, "egress", "to"):
        assert port in ports(other).values()
        assert (labels(about)["app.kubernetes.io/name"], port) in let_in


def test_probes_ask_ports_by_names_that_there_are(site: list[Object]) -> None:
    for _, pod in pod_templates(site):
        for each in containers(pod):
            names = {port["name"] for port in each.get("ports", ())}
            asked = {
                each[kind]["httpGet"]["port"]
                for kind in ("livenessProbe", "readinessProbe")
                if "httpGet" in each.get(kind, {})
            }
            assert asked <= names


def test_monitors_find_what_they_are_to_scrape_and_its_job_has_the_name_that_alerts_look_for(
    site: list[Object],
) -> None:
    """A PodMonitor's job is NAMESPACE/NAME, a ServiceMonitor's is the Service's name."""
    pods = next(of_kind(site, "PodMonitor"))
    (agent,) = selected(site, pods["spec"]["selector"]["matchLabels"])
    assert {each["port"] for each in pods["spec"]["podMetricsEndpoints"]} <= set(ports(agent))
    assert pods["metadata"]["name"] == "gputally-agent"
    services = next(of_kind(site, "ServiceMonitor"))
    wanted = services["spec"]["selector"]["matchLabels"]
    (service,) = (each for each in of_kind(site, "Service") if wanted.items() <= labels(each).items())
    assert {each["port"] for each in services["spec"]["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }
    assert "gputally-collector" in service["metadata"]["name"]
    assert all(each["honorLabels"] for each in pods["spec"]["podMetricsEndpoints"] + services["spec"]["endpoints"])


def test_accounts_roles_and_classes_are_there(site: list[Object]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in site}
    there |= {(kind, name) for kind, names in MADE_ELSEWHERE.items() for name in names}
    for _, pod in pod_templates(site):
        spec = pod["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        for kind, field in (("PriorityClass", "priorityClassName"), ("RuntimeClass", "runtimeClassName")):
            assert field not in spec or (kind, spec[field]) in there
    for binding in of_kind(site, "ClusterRoleBinding"):
        assert ("ClusterRole", binding["roleRef"]["name"]) in there
        assert all(("ServiceAccount", each["name"]) in there for each in binding["subjects"])
        assert {each["namespace"] for each in binding["subjects"]} == {"gputally"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_mounted_volumes_are_there_and_each_is_mounted(folder: str) -> None:
    for workload, pod in pod_templates(all_folders()[folder]):
        volumes = {each["name"] for each in pod["spec"].get("volumes", ())}
        volumes |= {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
        assert {mount["name"] for each in containers(pod) for mount in each.get("volumeMounts", ())} == volumes


def held(site: list[Object]) -> dict[tuple[str, str], set[str]]:
    """The keys of each ConfigMap and Secret."""
    return {
        (each["kind"], each["metadata"]["name"]): {*each.get("data", {}), *each.get("stringData", {})}
        for each in of_kind(site, "ConfigMap", "Secret")
    }


def asked(pod: Object) -> Iterator[tuple[str, str, set[str]]]:
    """(kind, name, keys) of each ConfigMap and Secret that a pod needs."""
    for each in containers(pod):
        for variable in each.get("env", ()):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                reference = variable.get("valueFrom", {}).get(field)
                if reference:
                    yield kind, reference["name"], {reference["key"]}
        for mount, volume in mounted(each, pod):
            for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                if field in volume and not volume[field].get("optional"):
                    yield kind, volume[field][name], files_below(each, mount["mountPath"])


def mounted(container: Object, pod: Object) -> Iterator[tuple[Object, Object]]:
    volumes = {each["name"]: each for each in pod["spec"].get("volumes", ())}
    return ((mount, volumes.get(mount["name"], {})) for mount in container.get("volumeMounts", ()))


def files_below(container: Object, path: str) -> set[str]:
    """The files of a folder that a container is told of, by a variable or in its command."""
    told = [*(str(each.get("value", "")) for each in container.get("env", ())), *container.get("command", ())]
    return {text.removeprefix(f"{path}/") for text in told if text.startswith(f"{path}/")}


def test_every_key_of_a_configmap_or_secret_is_there(site: list[Object]) -> None:
    there, needed = held(site), [need for _, pod in pod_templates(site) for need in asked(pod)]
    assert {kind for kind, _, _ in needed} == {"ConfigMap", "Secret"}
    assert [need for need in needed if not need[2] or not need[2] <= there.get(need[:2], set())] == []


def test_what_the_base_leaves_to_its_user_stands_in_the_examples() -> None:
    examples = [
        each
        for path in sorted((DEPLOY / "collector" / "examples").glob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text())
    ]
    there = held(examples)
    for folder in ("collector/base", "collector/overlays/books", "daemonset/base"):
        for _, pod in pod_templates(all_folders()[folder]):
            for kind, name, keys in asked(pod):
                assert keys <= there[kind, name]


def test_the_examples_authority_of_the_database_is_where_its_url_says() -> None:
    """verify-full without an authority connects to nobody, and every program that is given the URL has to find it."""
    secret = next(yaml.safe_load_all((DEPLOY / "collector" / "examples" / "secrets.yaml").read_text()))
    assert "sslmode=verify-full" in secret["stringData"]["url"]
    folder, _, key = secret["stringData"]["url"].rpartition("sslrootcert=")[2].rpartition("/")
    assert key in secret["stringData"]
    for name in ("collector/base", "collector/overlays/books"):
        for _, pod in pod_templates(all_folders()[name]):
            for each in containers(pod):
                (volume,) = (volume for mount, volume in mounted(each, pod) if mount["mountPath"] == folder)
                assert volume["secret"]["secretName"] == secret["metadata"]["name"]
                assert volume["secret"]["items"] == [{"key": key, "path": key}]
                assert volume["secret"]["optional"] is True


def test_an_agent_calls_the_collector_by_a_name_that_is_in_its_certificate(site: list[Object]) -> None:
    agent = named(site, "DaemonSet", "gputally-agent")["spec"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in agent["containers"][0]["env"]}
    host, _, port = variables["GPUTALLY_COLLECTOR"].partition(":")
    service = named(site, "Service", host)
    assert int(port) in {each["port"] for each in service["spec"]["ports"]}
    certificate = named(all_folders()["collector/overlays/cert-manager"], "Certificate", "gputally-collector")
    assert host in certificate["spec"]["dnsNames"]
    assert certificate["spec"]["secretName"] == "gputally-collector-tls"


def test_an_authority_that_is_renewed_is_still_the_one_that_agents_were_given() -> None:
    authority = named(all_folders()["collector/overlays/cert-manager"], "Certificate", "gputally-ca")
    assert authority["spec"]["isCA"] is True
    assert authority["spec"]["privateKey"]["rotationPolicy"] == "Never"


def test_an_update_never_runs_two_agents_on_one_node() -> None:
    for folder in (each for each in FOLDERS if each.startswith("daemonset/")):
        for each in of_kind(all_folders()[folder], "DaemonSet"):
            assert each["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] == 0


def test_the_same_image_migrates_and_collects(site: list[Object]) -> None:
    pod = named(site, "Deployment", "gputally-collector")["spec"]["template"]
    assert len({each["image"] for each in containers(pod)}) == 1


def test_sidecars_find_dashboards_small_enough_for_kubectl_apply() -> None:
    """`kubectl apply` keeps the whole object in an annotation, and annotations hold 256 KiB."""
    maps = list(of_kind(all_folders()["collector/overlays/grafana"], "ConfigMap"))
    files: set[str] = {name for each in maps for name in each["data"]}
    folder: Path = DEPLOY.parent / "dashboards" / "grafana"
    assert files == {path.name for path in folder.glob("*.json")}
    sizes: dict[str, Any] = {each["metadata"]["name"]: len(yaml.dump(each)) for each in maps}
    assert max(sizes.values()) < 250_000
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
