"""deploy/systemd: the units start what is installed, with settings that are read, and few rights."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from gputally.agent.command_line import Machine
from gputally.agent.command_line import load as load_agent
from gputally.agent.settings import Settings as AgentSettings
from gputally.collector.address import Address
from gputally.collector.command_line import read_settings
from gputally.collector.settings import CollectorSettings

ROOT = Path(__file__).resolve().parent.parent
UNITS = ROOT / "deploy/systemd"
NAMES = ("agent", "collector")
EXPOSURE = 2.5  # of 10, by systemd-analyze: below this it says OK
JOBS = "/run/gputally/jobs"
# Where the units' files are, and nothing else: a test puts them elsewhere.
SECRETS = ("/etc/gputally/agent/", "/run/credentials/gputally-collector.service/secrets_")
HARDENED = {
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallFilter": "@system-service",
    "Restart": "on-failure",
}


def unit(name: str) -> dict[str, list[str]]:
    """What a unit says by key, in the order of its lines; no key stands in two sections."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"gputally-{name}.service").read_text().splitlines():
        if line and line[0] not in "#[":
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def variables(text: str, *, proposed: bool = False) -> dict[str, str]:
    """NAME=VALUE of an environment file; `proposed`: of the lines that are there to be uncommented, too."""
    shape = r"^(?:# )?(GPUTALLY_\w+)=(.*)$" if proposed else r"^(GPUTALLY_\w+)=(.*)$"
    return dict(re.findall(shape, text, re.MULTILINE))


def environment(name: str, folder: Path, **more: str) -> dict[str, str]:
    """What the program is started with: the unit's own, then its file's; secrets are files below `folder`."""
    own = dict(line.replace("%H", "gpu-7").split("=", 1) for line in unit(name).get("Environment", ()))
    given = own | variables((UNITS / f"{name}.env").read_text()) | more
    return {key: put(value, folder) for key, value in given.items()}


def put(value: str, folder: Path) -> str:
    for prefix in SECRETS:
        if value.startswith(prefix):
            path = folder / value.removeprefix(prefix)
            path.write_text("")
            return str(path)
    return value


def agent_settings(environ: Mapping[str, str]) -> AgentSettings:
    return load_agent([], Machine(environ, is_root=True, hostname="gpu-7", home=Path("/root")))


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_starts_a_command_that_is_installed(name: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    [command] = unit(name)["ExecStart"]
    assert command.removeprefix("/opt/gputally/bin/") in scripts
    assert unit(name)["EnvironmentFile"] == [f"/etc/gputally/{name}.env"]


def test_the_agents_example_is_read_and_asks_no_kubelet(tmp_path: Path) -> None:
    settings = agent_settings(environment("agent", tmp_path))
    assert (settings.node, settings.cluster, settings.pod_resources_socket) == ("gpu-7", "lab", "off")
    assert settings.spool_dir == Path("/var/lib") / unit("agent")["StateDirectory"][0]


def test_a_machine_of_slurms_reads_the_folder_that_the_unit_makes_and_the_prolog_writes(tmp_path: Path) -> None:
    proposed = variables((UNITS / "agent.env").read_text(), proposed=True)
    settings = agent_settings(environment("agent", tmp_path, GPUTALLY_SLURM_JOBS=proposed["GPUTALLY_SLURM_JOBS"]))
    assert settings.slurm_jobs == Path(JOBS) == Path("/run") / unit("agent")["RuntimeDirectory"][0]
    assert unit("agent")["RuntimeDirectoryPreserve"] == ["yes"], "a restart must not forget who holds what"
    assert f"${{GPUTALLY_SLURM_JOBS:-{JOBS}}}" in (ROOT / "deploy/slurm/prolog.sh").read_text()
    assert f"${{GPUTALLY_SLURM_JOBS:-{JOBS}}}" in (ROOT / "deploy/slurm/epilog.sh").read_text()


def collector_settings(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> CollectorSettings:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    return read_settings([])


def test_the_collectors_example_is_read_and_believes_nobody_without_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = collector_settings(environment("collector", tmp_path), monkeypatch)
    assert settings.database_url == f"sqlite:////var/lib/{unit('collector')['StateDirectory'][0]}/gputally.sqlite"
    assert (settings.agent_auth, settings.reader_auth) == ("mtls", "tokens")
    assert settings.grpc_listen == Address("0.0.0.0", 9856)
    [credentials] = unit("collector")["LoadCredential"]
    assert credentials == "secrets:/etc/gputally/collector"


@pytest.mark.parametrize("name", NAMES)
def test_every_proposed_setting_is_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is commented out is read as well, each line for itself."""
    text = (UNITS / f"{name}.env").read_text()
    proposed = variables(text, proposed=True).items() - variables(text).items()
    assert proposed
    for key, value in proposed:
        environ = environment(name, tmp_path, **{key: value})
        if name == "agent":
            agent_settings(environ)
        else:
            collector_settings(environ, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_keeps_no_right_that_it_does_not_need(name: str) -> None:
    said = {key: values for key, values in unit(name).items() if key in HARDENED}
    assert said == {key: [value] for key, value in HARDENED.items()}
    assert "MemoryMax" in unit(name)


def test_the_agent_is_root_without_capabilities_and_sees_all_processes_and_only_the_drivers_devices() -> None:
    agent = unit("agent")
    assert (agent["User"], agent["ProtectProc"], agent["ProcSubset"]) == (["root"], ["default"], ["all"])
    assert (agent["DevicePolicy"], agent["DeviceAllow"]) == (["closed"], ["char-nvidia* rw"])
    assert unit("collector")["DynamicUser"] == ["yes"]


@pytest.fixture(params=NAMES)
def analysed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose commands are there, because systemd looks for them."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    path = tmp_path / f"gputally-{request.param}.service"
    text = (UNITS / path.name).read_text()
    path.write_text(re.sub(r"^(Exec\w+)=.*$", rf"\1={shutil.which('true')}", text, flags=re.MULTILINE))
    return path


def analyse(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={"PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_itself_finds_no_mistake_in_a_unit(analysed: Path) -> None:
    assert analysed.name not in analyse("verify", "--man=no", str(analysed))


def test_systemd_calls_a_unit_well_guarded(analysed: Path) -> None:
    said = analyse("security", "--offline=yes", "--no-pager", str(analysed))
    [level] = re.findall(r"exposure level for \S+: ([\d.]+)", said)
    assert float(level) < EXPOSURE, said
