"""deploy/compose, without an engine: every file is there, every setting is known, and what belongs together agrees."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import tomllib
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml
from tests.databases import PostgresServer
from tests.dockerfiles import stages
from typer.testing import CliRunner

from gputally.agent.command_line import Machine
from gputally.agent.command_line import load as load_agent
from gputally.agent.settings import Nvml
from gputally.agent.simulated.scenario_file import load as load_scenario
from gputally.collector.cli.main import app
from gputally.collector.command_line import read_settings

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "deploy" / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((HERE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AGENTS = {name: service for name, service in SERVICES.items() if service["image"].startswith("gputally-agent:")}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OURS = {f"gputally-{name}:{VERSION}": stages(ROOT / f"Dockerfile.{name}")[-1] for name in ("agent", "collector")}
each_service = pytest.mark.parametrize("name", SERVICES)


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """One entry of `volumes`."""

    source: str
    target: str
    mode: str

    @property
    def file(self) -> Path | None:
        """What of this repository is mounted; None for a volume."""
        return (HERE / self.source).resolve() if self.source.startswith(".") else None


def mounts(name: str) -> list[Mount]:
    parts = (text.split(":") for text in SERVICES[name].get("volumes", []))
    return [Mount(source, target, *(mode or ["rw"])) for source, target, *mode in parts]


def on_this_machine(name: str, inside: str) -> str:
    """The file of this repository that a service finds at a path; the text itself where it is no such path."""
    for mount in mounts(name):
        if mount.file and PurePosixPath(inside).is_relative_to(mount.target):
            return str(mount.file / PurePosixPath(inside).relative_to(mount.target))
    return inside


def environment(name: str) -> dict[str, str]:
    """What a service of ours finds in its environment: the image's, then its own, with defaults for what is asked."""
    service = SERVICES[name]
    found = {**OURS[service["image"]].pairs("ENV"), **service.get("environment", {})}
    return {key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for key, value in found.items()}


def test_it_is_what_the_specification_allows() -> None:
    package = pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema, which has Compose's schema")
    schema = resources.files(package) / "builtin_schemas" / "vendor" / "compose-spec.json"
    specification = json.loads(schema.read_text())
    validator = jsonschema.validators.validator_for(specification)(specification)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


@each_service
def test_every_image_is_pinned_and_ours_have_this_version(name: str) -> None:
    image = SERVICES[name]["image"]
    if image.startswith("gputally"):
        assert image in OURS
        build = SERVICES[name]["build"]
        assert (HERE / build["context"] / build["dockerfile"]).is_file()
        assert build["args"]["VERSION"] == VERSION
    else:
        assert re.search(r":v?\d+\.\d+(\.\d+)?$", image), image


@each_service
def test_a_service_can_do_no_more_than_it_must(name: str) -> None:
    """Its root is read-only, it has no capability and gets none, its ports are this machine's, and it is not root."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    user = OURS[service["image"]].only("USER") if service["image"] in OURS else service["user"]
    assert int(user.split(":")[0]) > 0
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@each_service
def test_what_is_mounted_is_there_and_stays_as_it_is(name: str) -> None:
    for mount in mounts(name):
        if mount.file is None:
            assert mount.source in COMPOSE["volumes"]
        else:
            assert mount.file.exists(), mount
            assert mount.mode == "ro", mount


@each_service
def test_a_service_waits_only_for_what_says_how_it_is(name: str) -> None:
    service = SERVICES[name]
    for other, need in service.get("depends_on", {}).items():
        assert need["condition"] == "service_healthy"
        assert "test" in SERVICES[other]["healthcheck"], other
    assert set(service["networks"]) <= set(COMPOSE["networks"])


@pytest.mark.parametrize("name", AGENTS)
def test_agents_understand_their_settings_and_reach_the_collector(name: str) -> None:
    variables = {key: on_this_machine(name, value) for key, value in environment(name).items()}
    settings = load_agent(AGENTS[name].get("command", []), Machine(variables, False, name, Path("/")))
    assert (settings.nvml, settings.node) == (Nvml.SIMULATED, name)
    assert settings.collector
    assert settings.collector.host == "collector"
    assert settings.collector.port == collector_port("GPUTALLY_GRPC_LISTEN")
    assert settings.scenario
    assert load_scenario(settings.scenario, 0).gpus
    assert str(settings.spool_dir) in {mount.target for mount in mounts(name) if mount.file is None}


def test_every_node_of_the_demo_is_in_the_fleet() -> None:
    assert set(AGENTS) == {path.stem for path in (ROOT / "demo" / "scenarios").glob("*.json")}


@pytest.mark.parametrize("name", ["collector", "books"])
def test_the_collector_understands_its_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in environment(name).items():
        monkeypatch.setenv(key, value)
    settings = read_settings([])
    assert settings.database_url.endswith("@database/gputally")
    assert f":{SERVICES['database']['environment']['POSTGRES_PASSWORD']}@" in environment_text(name)


def environment_text(name: str) -> str:
    """The database's URL as the file has it, with the name of its password."""
    return str(SERVICES[name]["environment"]["GPUTALLY_DATABASE_URL"])


def collector_port(variable: str) -> int:
    return int(environment("collector")[variable].rpartition(":")[2])


def test_readers_reach_the_published_ports() -> None:
    assert SERVICES["collector"]["ports"] == [f"127.0.0.1:{collector_port('GPUTALLY_HTTP_LISTEN')}:9857"]


def test_the_books_can_be_applied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lines of the service `books`, on a database of their own."""
    monkeypatch.setenv("GPUTALLY_DATABASE_URL", f"sqlite:///{tmp_path}/books.sqlite")
    (script,) = SERVICES["books"]["command"]
    for line in ["gputally migrate", *script.strip().splitlines()]:
        words = [on_this_machine("books", word) for word in line.split()]
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{line}: {done.output}"


def test_grafana_reads_closed_months_and_nothing_else(postgres_server: PostgresServer) -> None:
    """The file of the service `views`, twice: it runs at each start."""
    if not shutil.which("psql"):
        pytest.skip("psql is missing: apt-get install postgresql-client")
    url = postgres_server.create(migrated=True)
    at = psycopg.conninfo.conninfo_to_dict(url.replace("+psycopg", ""))
    variables = {"PGHOST": at["host"], "PGUSER": at["user"], "PGDATABASE": at["dbname"], "READER_PASSWORD": "it's"}
    script = on_this_machine("views", "/views.sql")
    for _ in range(2):
        command = [*SERVICES["views"]["entrypoint"][:-1], f"--file={script}"]
        subprocess.run(command, check=True, env={**os.environ, **variables}, capture_output=True)
    with psycopg.connect(**{**at, "user": "grafana"}) as connection:
        readable = {
            view
            for view in ("statement_month", "statement_item", "statement_workload", "statement", "posting")
            if connection.execute("SELECT has_table_privilege(%s, 'SELECT')", [view]).fetchone() == (True,)
        }
    assert readable == {"statement_month", "statement_item", "statement_workload"}


def test_prometheus_scrapes_every_agent_and_the_collector() -> None:
    config = yaml.safe_load((HERE / "prometheus.yaml").read_text())
    found = {scrape["job_name"]: scrape["static_configs"][0] for scrape in config["scrape_configs"]}
    assert set(found["gputally-agent"]["targets"]) == {f"{name}:9855" for name in AGENTS}
    assert found["gputally-agent"]["labels"] == {"cluster": environment("node-a")["GPUTALLY_CLUSTER"]}
    assert found["gputally-collector"]["targets"] == [f"collector:{collector_port('GPUTALLY_METRICS_LISTEN')}"]
    assert all(scrape["honor_labels"] for scrape in config["scrape_configs"])


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing: apt-get install prometheus")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """With its rules beside it, as they are mounted."""
    for mount in mounts("prometheus"):
        if mount.file:
            into = tmp_path / mount.target.lstrip("/")
            into.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if mount.file.is_dir() else shutil.copy)(mount.file, into)
    config = tmp_path / "etc" / "prometheus" / "prometheus.yml"
    done = subprocess.run(["promtool", "check", "config", config], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_the_dashboards() -> None:
    (provider,) = provisioned("/etc/grafana/provisioning/dashboards/gputally.yaml", "providers")
    assert list(Path(on_this_machine("grafana", provider["options"]["path"])).glob("*.json"))


def test_grafana_asks_this_prometheus_and_this_database() -> None:
    """By the uids that the dashboards choose, which the provisioning for production has as well."""
    here = provisioned("/etc/grafana/provisioning/datasources/gputally.yaml", "datasources")
    elsewhere = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/gputally.yaml").read_text())["datasources"]
    assert [(source["uid"], source["type"]) for source in here] == [(one["uid"], one["type"]) for one in elsewhere]
    for source, service in zip(here, ("prometheus", "database"), strict=True):
        assert source["url"].removeprefix("http://").split(":")[0] == service
        assert set(SERVICES[service]["networks"]) & set(SERVICES["grafana"]["networks"])
    assert SERVICES["grafana"]["environment"]["READER_PASSWORD"] == SERVICES["views"]["environment"]["READER_PASSWORD"]


def provisioned(inside: str, kind: str) -> list[dict[str, Any]]:
    """What a provisioning file that Grafana finds at a path declares."""
    found: list[dict[str, Any]] = yaml.safe_load(Path(on_this_machine("grafana", inside)).read_text())[kind]
    return found
