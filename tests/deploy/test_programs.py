"""The programs take what the manifests tell them: the real parsers read the rendered variables, arguments and files."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from tests.deploy.rendered import DEPLOY, ROOT, Object, all_folders, containers, named, pod_templates

from gputally.agent.command_line import Machine
from gputally.agent.command_line import load as load_agent
from gputally.agent.settings import Settings as AgentSettings
from gputally.agent.settings import described
from gputally.collector import main as collector_main
from gputally.collector.api import server
from gputally.collector.auth import access_review, token_review
from gputally.collector.budgets import parse_budgets
from gputally.collector.cluster.watch import QUEUED, ObjectKind
from gputally.collector.command_line import read_settings
from gputally.collector.doors import AgentAuth, ReaderAuth
from gputally.collector.queues.kube_queues import QUEUES
from gputally.collector.rates.check import check as check_rates
from gputally.collector.settings import CollectorSettings, DatabaseSettings, ReadSettings, load
from gputally.collector.teams import parse_mapping
from gputally.collector.workloads.parse import parse_shipped

CONFIG = {
    ("gputally", "cluster"): "prod",
    ("gputally", "timezone"): "Europe/Berlin",
    ("gputally-database", "url"): "postgresql://gputally:secret@gputally-postgres/gputally",
}
FIELDS = {"spec.nodeName": "gpu-7", "metadata.namespace": "gputally"}
# Not ours: read by the container toolkit, the loader, the shell of this file.
OTHERS = {"NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "LD_LIBRARY_PATH", "POD_NAMESPACE"}
IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def value_of(variable: Object, before: Mapping[str, str]) -> str:
    """A variable's value as the kubelet would set it."""
    source = variable.get("valueFrom", {})
    if "fieldRef" in source:
        return FIELDS[source["fieldRef"]["fieldPath"]]
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if kind in source:
            return CONFIG[source[kind]["name"], source[kind]["key"]]
    return re.sub(r"\$\((\w+)\)", lambda found: before[found[1]], variable["value"])


def environment(container: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    for variable in container["env"]:
        found[variable["name"]] = value_of(variable, found)
    return found


def with_files(found: dict[str, str], container: Object, root: Path) -> dict[str, str]:
    """The same, with each file that a variable names below a mount made below `root`."""
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name, value in found.items():
        if name.startswith("GPUTALLY_") and any(value.startswith(f"{mount}/") for mount in mounts):
            path = root / value.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            found = {**found, name: str(path)}
    return found


def only(folder: str, kind: str, name: str) -> tuple[Object, Object]:
    """(pod, container) of a workload with one container."""
    pod: Object = named(all_folders()[folder], kind, name)["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    return pod, container


AGENTS = ("host", "gpu-operator", "gke")


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Object, AgentSettings]:
    """(container, what it makes of its variables)"""
    _, container = only(f"daemonset/overlays/{request.param}", "DaemonSet", "gputally-agent")
    given = with_files(environment(container), container, tmp_path)
    machine = Machine({**given, **IN_A_POD}, is_root=True, hostname="pod", home=tmp_path)
    return container, load_agent(container.get("args", []), machine)


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CollectorSettings:
    _, container = only("collector/base", "Deployment", "gputally-collector")
    for name, value in with_files(environment(container), container, tmp_path).items():
        monkeypatch.setenv(name, value)
    return read_settings(container.get("args", []))


def variables() -> Iterator[tuple[str, set[str]]]:
    """(where, names) of the variables of every container of ours."""
    for folder, objects in all_folders().items():
        for _, pod in pod_templates(objects):
            for container in containers(pod):
                if container["image"].startswith("gputally-"):
                    yield f"{folder} {container['name']}", {variable["name"] for variable in container.get("env", ())}


def test_every_variable_is_a_setting() -> None:
    """The programs themselves refuse only what is nearly one of theirs."""
    known = {setting.variable for setting in described()}
    known |= {f"GPUTALLY_{field.upper()}" for field in CollectorSettings.model_fields}
    assert {(where, name) for where, names in variables() for name in names - known - OTHERS} == set()


def test_the_agent_knows_where_it_is_and_proves_it(agent: tuple[Object, AgentSettings]) -> None:
    _, settings = agent
    assert (settings.node, settings.cluster) == ("gpu-7", "prod")
    assert settings.kube_api == "https://10.0.0.1:443"
    assert str(settings.collector) == "gputally-collector:9856"
    assert settings.collector_ca_file
    assert settings.collector_token_file
    assert not settings.insecure_plaintext


def test_the_agent_writes_where_it_may_and_reads_what_is_mounted(agent: tuple[Object, AgentSettings]) -> None:
    container, settings = agent
    mounts = {mount["mountPath"]: bool(mount.get("readOnly")) for mount in container["volumeMounts"]}
    assert mounts[str(settings.spool_dir)] is False
    assert isinstance(settings.pod_resources_socket, Path)
    assert mounts[str(settings.pod_resources_socket.parent)] is True


def test_the_agent_listens_where_it_is_asked(agent: tuple[Object, AgentSettings]) -> None:
    container, settings = agent
    assert [port["containerPort"] for port in container["ports"]] == [settings.http_listen.port]


def test_the_collector_lets_in_the_agents_of_these_manifests_only(collector: CollectorSettings) -> None:
    pod, _ = only("daemonset/base", "DaemonSet", "gputally-agent")
    assert collector.agent_auth is AgentAuth.TOKEN
    assert collector.agent_service_accounts == (f"gputally/{pod['spec']['serviceAccountName']}",)
    (token,) = (
        source["serviceAccountToken"]
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    )
    assert token["audience"] == collector.agent_audience


def test_the_collector_asks_readers_and_encrypts(collector: CollectorSettings) -> None:
    assert collector.reader_auth is ReaderAuth.KUBERNETES
    assert collector.tls_cert_file
    assert not collector.insecure_http
    assert not collector.insecure_plaintext
    assert collector.zone == ZoneInfo("Europe/Berlin")


def test_the_collector_listens_where_it_is_asked(collector: CollectorSettings) -> None:
    _, container = only("collector/base", "Deployment", "gputally-collector")
    listening = {"grpc": collector.grpc_listen, "https": collector.http_listen, "metrics": collector.metrics_listen}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        name: address.port for name, address in listening.items() if address
    }


def test_commands_in_its_pod_read_the_same_database(collector: CollectorSettings) -> None:
    """`kubectl exec deploy/gputally-collector -- gputally report`: the pod's variables are no mistake for it."""
    assert load(ReadSettings, {}).database_url == collector.database_url
    assert load(ReadSettings, {}).zone == collector.zone


def test_the_migration_uses_the_same_database(monkeypatch: pytest.MonkeyPatch) -> None:
    pod, _ = only("collector/base", "Deployment", "gputally-collector")
    (migrate,) = pod["spec"]["initContainers"]
    for variable, value in environment(migrate).items():
        monkeypatch.setenv(variable, value)
    assert migrate["command"] == ["gputally", "migrate"]
    assert load(DatabaseSettings, {}).database_url == CONFIG["gputally-database", "url"]


def test_a_collector_that_is_to_end_has_as_long_as_it_may_take() -> None:
    """Killed before, it would say a message twice, and cut off what readers are being answered."""
    parts = 4 * collector_main.DRAIN_S + 2 * collector_main.WATCH_S  # streams, notifier, settler, writer; two watches
    longest_s = parts + 2 * server._DRAIN_S
    pod, container = only("collector/base", "Deployment", "gputally-collector")
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["spec"]["terminationGracePeriodSeconds"] >= pause_s + longest_s
    unit = (DEPLOY / "systemd" / "gputally-collector.service").read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= longest_s


def test_probes_ask_pages_that_are_served() -> None:
    """Alive is /healthz and nothing else: an agent that is not ready still counts, and must not be restarted."""
    for folder, kind, name in (
        ("daemonset/base", "DaemonSet", "gputally-agent"),
        ("collector/base", "Deployment", "gputally-collector"),
    ):
        _, container = only(folder, kind, name)
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_example_of_books_is_one_that_the_commands_take() -> None:
    data: dict[str, str] = yaml.safe_load((DEPLOY / "collector" / "examples" / "books.yaml").read_text())["data"]
    findings = check_rates(data["rates.yaml"].encode(), ZoneInfo("UTC"), None, 1_790_000_000_000_000)
    assert (findings.errors, findings.warnings) == ((), ())
    assert parse_mapping(data["teams.yaml"].encode(), ZoneInfo("UTC"))
    assert parse_budgets(data["budgets.yaml"].encode())


# Rights: what the code asks the API server for, and no more.


def granted(folder: str, name: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of a role."""
    return {
        (group, resource, verb)
        for rule in named(all_folders()[folder], "ClusterRole", name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


FOLLOW = {"list", "watch"}


def resources(folder: str, name: str) -> set[str]:
    return {resource for _, resource, _ in granted(folder, name)}


def named_in(folder: str, pattern: str) -> set[str]:
    """What a pattern finds in the code of a folder."""
    return {name for path in (ROOT / folder).rglob("*.py") for name in re.findall(pattern, path.read_text())}


def test_the_agent_may_see_what_its_code_asks_for() -> None:
    assert resources("daemonset/base", "gputally-agent") == named_in("agent", r'"/api/v1/(\w+)"')
    assert resources("daemonset/overlays/dra", "gputally-agent-dra") == named_in("agent/kube", r'"(resource\w+s)"')


def test_the_agent_follows_and_asks_for_nothing_by_its_name() -> None:
    """Every path in its code is one of a collection: what a `get` would allow, nobody asks for."""
    for folder, name in (("daemonset/base", "gputally-agent"), ("daemonset/overlays/dra", "gputally-agent-dra")):
        assert {verb for _, _, verb in granted(folder, name)} == FOLLOW
    assert named_in("agent", r'"/api/v1/\w+/') == set()


def test_the_collector_may_read_every_kind_that_a_rule_knows_as_an_owner() -> None:
    """And none that no rule knows."""
    rules = parse_shipped((ROOT / "collector" / "workloads" / "rules.yaml").read_bytes())
    known = {key for rule in rules.owners for key in (*rule.owner, *(rule.claimed.above if rule.claimed else ()))}
    kinds = {tuple(key.split(".", 1)) for key in known if "." in key}
    rights = granted("collector/overlays/workloads", "gputally-collector-workloads")
    assert rights == {(group, f"{kind.lower()}s", "get") for kind, group in kinds}


def listed() -> set[str]:
    """What the collector lists by methods of the package `kubernetes`, which name what they list."""
    methods = named_in("collector", r"\.list_([a-z]+)(?:_for_all_namespaces)?\b")
    return {f"{kind}s" for kind in methods if kind in ("namespace", "node", "pod")}


def test_the_collector_may_see_the_queues_whose_quotas_it_knows() -> None:
    rights = granted("collector/overlays/queues", "gputally-collector-queues")
    assert rights == {(group, str(kind), verb) for kind, (group, _) in QUEUES.items() for verb in FOLLOW}
    assert set(QUEUES) == set(QUEUED)


def test_the_collector_may_see_what_its_code_asks_for() -> None:
    reviews = {path.rpartition("/")[2] for path in (token_review.PATH, access_review.PATH)}
    rights = granted("collector/base", "gputally-collector")
    watched = {str(kind) for kind in ObjectKind if kind not in QUEUED}
    assert {resource for _, resource, _ in rights} == reviews | watched | listed()
    by_name = {f"{kind}s" for kind in named_in("collector", r"\.read_namespaced_(\w+)\b")}
    assert {(resource, verb) for _, resource, verb in rights if resource not in reviews} == {
        *((each, verb) for each in watched | listed() for verb in FOLLOW),
        *((each, "get") for each in by_name),
    }
    assert {(resource, verb) for _, resource, verb in rights if resource in reviews} == {
        (each, "create") for each in reviews
    }
    assert {f"/apis/{group}/v1/{resource}" for group, resource, _ in rights if resource in reviews} == {
        token_review.PATH,
        access_review.PATH,
    }
