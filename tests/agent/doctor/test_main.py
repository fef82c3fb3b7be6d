"""The command as people type it: what it prints, how it ends, and that a running agent does not notice."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agents import ELSEWHERE, Node, probe_of, two_gpus, wait_ready
from tests.programs import module

from gputally.agent.doctor.main import main

pytest_plugins = ["tests.nvml.fixtures"]

LEVELS = ("ok ", "warn ", "FAIL ")
SCENARIO = Path(__file__).parents[3] / "demo" / "scenarios" / "node-a.json"


def doctor(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = module("gputally.agent.main", "doctor", *arguments)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def node(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Node:
    return two_gpus(tmp_path, built(()))


def test_settings_that_cannot_be_used_are_exit_2_and_told_as_the_agent_tells_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--node", "n", "--windw", "10s"])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert "--windw is not a setting; did you mean --window?" in told.err
    assert "--cluster NAME is missing" in told.err
    scenario = tmp_path / "scenario.json"
    scenario.write_text("{}")
    assert main(["--node", "n", "--cluster", "c", "--nvml", "simulated", "--scenario", str(scenario)]) == 2
    assert capsys.readouterr().err.startswith("gputally-agent: --scenario: ")


def test_a_laptop_with_simulated_gpus_lacks_only_a_collector_and_perhaps_a_clock(tmp_path: Path) -> None:
    named = ("--node", "n", "--cluster", "c", "--spool-dir", str(tmp_path), "--http-listen", "127.0.0.1:0")
    done = doctor(*named, "--nvml", "simulated", "--scenario", str(SCENARIO), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["complete"], done.stderr) == (1, False, "")
    said = {each["check"]: each["level"] for each in told["findings"]}
    assert said["nvml-library"] == said["gpus"] == said["kubelet"] == said["kubernetes-api"] == "ok"
    assert said["collector"] == "warn"
    assert "device-files" not in said


def test_it_looks_beside_a_running_agent_which_does_not_notice(node: Node) -> None:
    """Same flags, same variables: as `kubectl exec` has them. The agent keeps its spool, its probe and its port."""
    with node.agent() as agent:
        port = wait_ready(agent)
        before, log = probe_of(agent), agent.log
        flags = ("--http-listen", f"127.0.0.1:{port}", "--spool-dir", str(node.folder / "spool"))
        env = {**node.env, "GPUTALLY_NODE": "n", "GPUTALLY_CLUSTER": "c", "GPUTALLY_POD_RESOURCES_SOCKET": "off"}
        done = doctor(*flags, "--spool-max-bytes", "1MiB", env=env)
        assert (probe_of(agent), agent.log) == (before, log)
    first, *_, last = done.stdout.splitlines()
    assert (first, last.startswith("usage "), "\x1b" in done.stdout) == ("node n of cluster c", True, False)
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.startswith(LEVELS)]
    said = {name: (level, found) for level, name, found in lines}
    assert said["running-agent"][0] == ("FAIL" if ELSEWHERE else "ok")
    assert said["gpu-processes"] == ("ok", "1 on the GPUs, each found in /proc")
    level, found = said["spool"]
    assert level == "warn" or found.endswith(f"process {agent.process.pid} uses it")  # a folder for tests may be memory
