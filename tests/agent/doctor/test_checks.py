"""The whole doctor on a node that is well, and with one thing wrong at a time.

Everything around it is real but for the node's folders: NVML is the test library, the kubelet a server on its socket,
the API a server, the collector's door its own server with TLS and tokens.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent.doctor.defects import (
    DEFECTS,
    api_away,
    collector_away,
    no_device_files,
    no_library,
    no_socket,
    private_pids,
    spool_in_file,
)
from tests.agent.doctor.doors import Doors
from tests.agent.doctor.good_node import DRIVER, GOOD_TOKEN, OTHERS_TOKEN, Agent, Node
from tests.kube_api import FakeKubeApi
from tests.kube_review import FakeReviews, Token
from tests.kubelet import FakeKubelet

from gputally.agent.doctor.finding import Level, exit_status
from gputally.agent.http import HttpServer
from gputally.agent.quantity import Address
from gputally.agent.snapshot import Snapshot

pytest_plugins = ["tests.nvml.fixtures"]

LINES = [
    *("pid-namespace", "cgroups", "nvml-library", "device-files", "gpus", "gpu-activity", "gpu-processes", "kubelet"),
    *["kubernetes-api"] * 4,
    *("clock", "spool", "collector-dns", "collector-tcp", "collector-tls", "collector-identity", "running-agent"),
]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with FakeReviews() as reviews:
        reviews.tokens = {GOOD_TOKEN: Token(node="gpu-1"), OTHERS_TOKEN: Token(node="gpu-2")}
        doors = Doors(tmp_path_factory.mktemp("collector"), reviews)
        yield doors
        doors.close()


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    agent = Agent()
    server = HttpServer(Address("127.0.0.1", 0), lambda: Snapshot("gpu-1", not_ready=agent.not_ready))
    agent.port = server.port
    server.start()
    yield agent
    server.close()


@pytest.fixture
def node(
    built: Callable[[tuple[str, ...]], Path],
    door: Doors,
    agent: Agent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Node]:
    agent.not_ready = ()
    with FakeKubelet(tmp_path / "kubelet.sock") as kubelet, FakeKubeApi() as api:
        node = Node(tmp_path, kubelet, api, door.tokens, agent)
        node.furnish(built(()) / "libnvidia-ml.so.1")
        node.play()
        (tmp_path / "ca.crt").write_bytes(door.authority.pem)
        (tmp_path / "token").write_text(GOOD_TOKEN)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "lib"))
        monkeypatch.setenv("GPUTALLY_TEST_NVML", str(tmp_path / "scenario"))
        yield node


def test_on_a_node_that_is_well_every_line_is_ok(node: Node) -> None:
    found = node.examine()
    assert [each for each in found if each.level is not Level.OK] == []
    assert [each.check for each in found] == LINES
    assert exit_status(found) == 0
    said = {each.check: each.found for each in found}
    assert said["gpus"] == "2 × NVIDIA H100 80GB HBM3"
    assert said["gpu-processes"] == "1 on the GPUs, each found in /proc"
    assert said["collector-identity"] == "let in as prod/gpu-1"
    assert said["nvml-library"].endswith(f"libnvidia-ml.so.{DRIVER}, kernel module {DRIVER}")
    assert not (node.folder / "spool").exists(), "a look changes nothing"


def test_with_everything_wrong_each_has_its_line(node: Node) -> None:
    """No check hides another, and none ends the report."""
    for spoil in (private_pids, no_library, no_device_files, no_socket, api_away, collector_away, spool_in_file):
        spoil(node)
    found = node.examine()
    failed = [each.check for each in found if each.level is Level.FAIL]
    assert failed == [
        *("pid-namespace", "nvml-library", "device-files", "gpus", "kubelet", "kubernetes-api"),
        *("spool", "collector-tcp"),
    ]
    assert exit_status(found) == 1


@pytest.mark.parametrize(
    ("spoil", "check", "line", "level", "words"), DEFECTS, ids=[each[0].__name__ for each in DEFECTS]
)
def test_one_thing_wrong_is_one_line_and_exit_1(
    node: Node, spoil: Callable[[Node], None], check: str, line: str, level: Level, words: str
) -> None:
    """It says what is wrong and what to change, and no other line of that check complains."""
    spoil(node)
    found = node.examine(check)
    (wrong,) = [each for each in found if each.level is not Level.OK]
    assert (wrong.check, wrong.level) == (line, level)
    assert words in wrong.found
    assert wrong.change
    assert exit_status(found) == 1
