"""A pod of the watch: whether it asks for a GPU, when it ran, how it ended; what is not said is unknown."""

from typing import Any

import pytest
from tests.watched_pods import failed, gpu_pod
from tests.windows import START_US

from gputally.collector.cluster.pod import WatchedPod, watched_pod
from gputally.collector.workloads.read_pod import Wanted

HOUR_US = 3_600_000_000


def read(raw: dict[str, Any]) -> WatchedPod:
    found = watched_pod(raw, Wanted())
    assert found is not None
    return found


def test_a_pod_that_runs_has_a_start_and_no_end() -> None:
    found = read(gpu_pod(version=7))
    assert (found.uid, found.version, found.created_us) == ("uid-of-train-0", 7, START_US)
    assert (found.started_us, found.finished_us, found.phase, found.reason) == (
        START_US + 5_000_000,
        None,
        "Running",
        None,
    )


@pytest.mark.parametrize(
    ("spec", "asks"),
    [
        ({"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}, True),
        ({"containers": [{}, {"resources": {"requests": {"nvidia.com/mig-1g.10gb": "1"}}}]}, True),
        ({"initContainers": [{"resources": {"limits": {"nvidia.com/gpu.shared": "1"}}}], "containers": []}, True),
        ({"containers": [], "resourceClaims": [{"name": "gpu"}]}, True),
        ({"containers": [{"resources": {"limits": {"cpu": "1"}}}]}, False),
        ({"containers": None}, False),
    ],
)
def test_it_asks_for_a_gpu_by_a_resource_or_a_claim(spec: dict[str, Any], asks: bool) -> None:
    assert read({**gpu_pod(), "spec": spec}).asks is asks


def test_how_it_ended_is_its_last_container_and_the_first_reason() -> None:
    found = read(gpu_pod(status=failed()))
    assert (found.finished_us, found.phase, found.reason) == (START_US + HOUR_US, "Failed", "OOMKilled")
    assert read(gpu_pod(status=failed(code=0))).reason is None
    assert read(gpu_pod(status={**failed(), "reason": "Evicted"})).reason == "Evicted"


def test_a_container_that_ended_is_not_the_end_of_a_pod_that_runs() -> None:
    assert read(gpu_pod(status={**failed(), "phase": "Running"})).finished_us is None


@pytest.mark.parametrize("status", [{}, {"phase": 7, "reason": "x" * 5000}, {"phase": "", "reason": "a\x00b"}])
def test_what_is_not_said_is_unknown(status: dict[str, Any]) -> None:
    found = read(gpu_pod(status=status))
    assert (found.started_us, found.finished_us, found.phase, found.reason) == (None, None, None, None)


def test_what_has_no_name_is_no_pod() -> None:
    assert watched_pod({"metadata": {"uid": "x"}}, Wanted()) is None
