"""DCGM's names: the values, units and labels that dashboards and queries made for its exporter ask for."""

import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.snapshots import EMPTY, FULL, golden

from gputally.agent.exposition.text import render

TEXT = golden()["agent_dcgm_names.prom"].decode()
SERIES = [sample for family in text_string_to_metric_families(TEXT) for sample in family.samples]
PANELS = (  # what NVIDIA's own dashboard for its exporter asks for, by instance and gpu
    ("DCGM_FI_DEV_GPU_TEMP", 46.0),  # degrees Celsius
    ("DCGM_FI_DEV_POWER_USAGE", 70.125),  # watts
    ("DCGM_FI_DEV_SM_CLOCK", 1980.0),  # MHz
    ("DCGM_FI_DEV_GPU_UTIL", 37.0),  # percent
    ("DCGM_FI_DEV_FB_USED", 0.0),  # MiB
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 0.1),  # from 0 to 1
)
NAMING_RULES = ("label names should be written in 'snake_case' not 'camelCase'",)  # UUID, modelName, Hostname, GPU_I_ID


@pytest.mark.parametrize(("name", "expected"), PANELS)
def test_nvidias_own_dashboard_finds_each_of_its_six_metrics(name: str, expected: float) -> None:
    assert [each.value for each in SERIES if each.name == name and each.labels["gpu"] == "0"] == [expected]


def test_the_query_by_which_costs_are_computed_finds_who_holds_the_device_alone() -> None:
    """avg(avg_over_time(DCGM_FI_PROF_GR_ENGINE_ACTIVE{container!=""}[..])) by (container, pod, namespace)"""
    name = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    found = {
        tuple(s.labels[key] for key in ("namespace", "pod", "container")): s.value for s in SERIES if s.name == name
    }
    assert found == {("team", "train-0", "main"): 0.37, ("chat", "server-0", "model"): 0.37}


def test_energy_is_the_drivers_counter_in_millijoules() -> None:
    assert [each.value for each in SERIES if each.name == "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == [9.0]


def test_both_spellings_of_the_hosts_name_are_there() -> None:
    assert {(each.labels["Hostname"], each.labels["hostname"]) for each in SERIES} == {("n1", "n1")}


def test_a_mig_device_is_told_by_its_gpu_instance_and_a_partitioned_gpu_has_no_utilisation() -> None:
    ids = {(each.labels["UUID"], each.labels.get("GPU_I_ID"), each.labels.get("GPU_I_PROFILE")) for each in SERIES}
    assert ids == {("GPU-1", None, None), ("GPU-3", None, None), ("GPU-3", "7", "1g.10gb")}
    assert {each.labels["UUID"] for each in SERIES if each.name == "DCGM_FI_DEV_GPU_UTIL"} == {"GPU-1"}


def test_what_was_not_read_is_absent_and_nothing_is_there_unless_asked_for() -> None:
    assert not [each for each in SERIES if each.labels["UUID"] == "GPU-2"]
    assert "DCGM" not in render(FULL).decode()
    assert not re.search(r"^DCGM", render(EMPTY, dcgm_names=True).decode(), re.MULTILINE)


def test_promtool_finds_fault_with_the_spelling_of_labels_and_with_nothing_else() -> None:
    """The names are not ours; whatever else a linter says would be."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is missing; install it with: apt-get install prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=TEXT, capture_output=True, text=True)
    complaints = {line.partition(" ")[2] for line in (done.stdout + done.stderr).splitlines()}
    assert complaints == set(NAMING_RULES)
