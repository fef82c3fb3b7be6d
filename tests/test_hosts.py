"""Machines without Kubernetes, from the driver to the report: who pays is a user, for his Slurm job or his unit."""

import os
import pwd
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from tests.agents import Node, S, get, now_us, port_of
from tests.nvml.library import NvmlScenario, ScriptedGpu, ScriptedProcess, Step
from tests.windows import all_received

from gputally.accounting.keys import user_namespace
from gputally.accounting.ledger_hour import HOUR_US
from gputally.accounting.states import OwnerKind
from gputally.collector.allocation.amounts import Amounts
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer
from gputally.collector.report import By, report
from gputally.collector.teams import parse_mapping

pytest_plugins = ["tests.nvml.fixtures"]

UTC = ZoneInfo("UTC")
GPUS = tuple(f"GPU-0000000{n}-1111-4222-8333-444444444444" for n in range(3))
IN_JOB = "0::/system.slice/slurmstepd.scope/job_42/step_0/user/task_0\n"
IN_SERVICE = "0::/system.slice/train.service\n"
POD_LIKE = (  # what anybody may make below his own service manager
    "0::/user.slice/user-1000.slice/user@1000.service/slurmstepd.scope/job_42/kubepods.slice/"
    f"kubepods-podf6f2d169_f2ae_4afa_95ed_06ff2ed6b288.slice/cri-containerd-{'c' * 64}.scope\n"
)
STAT = "{} (train) S 1 1 1 0 -1 4194560 903 0 1 0 0 0 0 0 20 0 1 0 4242 1011712 137 1 1\n"
ME = pwd.getpwuid(os.geteuid()).pw_name
SPAN_US = 3 * S


def put_process(proc: Path, pid: int, cgroup: str) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(cgroup)
    (folder / "stat").write_text(STAT.format(pid))


def put_job(jobs: Path, job: int, user: str, gpus: str) -> None:
    path = jobs / str(job)
    path.write_text(f"SLURM_JOB_ID={job}\nSLURM_JOB_USER={user}\nSLURM_JOB_GPUS={gpus}\n")
    path.chmod(0o644)


@pytest.fixture
def node(built: Callable[[tuple[str, ...]], Path], tmp_path: Path) -> Node:
    """Alice's job works half of the time on GPU 0, Bob's holds GPU 1 and runs nothing, a service works on GPU 2.

    There somebody also runs what he dressed up as a pod and a job.
    """
    put_process(tmp_path / "proc", 101, IN_JOB)
    put_process(tmp_path / "proc", 103, IN_SERVICE)
    put_process(tmp_path / "proc", 104, POD_LIKE)
    jobs = tmp_path / "jobs"
    jobs.mkdir(mode=0o755)
    put_job(jobs, 42, "alice", "0")
    put_job(jobs, 43, "bob", "1")
    start_us = now_us() - 20 * S
    busy = {0: {101: 50}, 1: {}, 2: {103: 25, 104: 10}}
    gpus = tuple(
        ScriptedGpu(
            uuid,
            start_us,
            minor=n,
            pci_bus_id=f"00000000:{0x3B + n:02X}:00.0",
            processes=tuple(ScriptedProcess(pid, busy=(Step(start_us, busy[n][pid]),)) for pid in busy[n]),
        )
        for n, uuid in enumerate(GPUS)
    )
    node = Node(tmp_path, built(()), NvmlScenario(gpus))
    node.play()
    return node


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    migrate(engine)
    yield engine
    engine.dispose()


def test_users_pay_for_their_jobs_and_units_and_nobody_for_what_is_free(node: Node, engine: Engine) -> None:
    proc, jobs = str(node.folder / "proc"), str(node.folder / "jobs")
    settings = ("--proc-root", proc, "--slurm-jobs", jobs, "--pod-resources-socket", "off")
    began_us = now_us()
    with node.agent(*settings) as agent:
        node.wait_covered(began_us + SPAN_US)
        _, metrics = get(port_of(agent), "/metrics")
        assert agent.stop() == 0, agent.log
    assert 'gputally_source_up{source="slurm"} 1.0' in metrics
    assert 'gputally_pod_info{idle_alert="",namespace="user:bob",pod="job_43",workload="43"' in metrics
    windows = node.windows()
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=now_us())

    end_us = -(-now_us() // HOUR_US) * HOUR_US
    found = report(engine, UTC, end_us - 2 * HOUR_US, end_us, (By.NAMESPACE, By.POD, By.BASIS))
    rows = {(row.owner, *row.keys): row.amounts for row in found.rows}
    alice = rows["pod", "user:alice", "job_42", "reservation"]
    bob = rows["pod", "user:bob", "job_43", "reservation"]
    mine = rows["pod", user_namespace(ME), "train.service", "process"]
    each_us = found.total.amounts.capacity_us // 3
    check_half_used(alice, each_us)
    assert (bob.used_us, bob.idle_us, bob.capacity_us) == (0, each_us, each_us)
    assert mine.used_us == pytest.approx(each_us / 4, rel=0.05)
    assert mine.idle_us == 0, "without a reservation nothing is held"
    dressed_up = rows["pod", user_namespace(ME), "containerd-cccccccccccc", "process"]
    assert dressed_up.used_us == pytest.approx(each_us / 10, rel=0.05)
    assert {owner for owner, *_ in rows} == {OwnerKind.POD, OwnerKind.PLATFORM}
    assert sum(row.capacity_us for row in rows.values()) == 3 * each_us


def test_the_mapping_of_users_to_teams_in_the_document_is_read() -> None:
    text = (Path(__file__).parents[1] / "docs/hosts.md").read_text()
    [block] = re.findall(r"((?:^    .*\n)*^    namespaces:\n(?:^    .*\n)+)", text, re.MULTILINE)
    mapping = parse_mapping(textwrap.dedent(block).encode(), UTC)
    assert {entry.namespace: entry.team for entry in mapping.entries} == {"user:alice": "vision", "user:bob": "speech"}


def check_half_used(amounts: Amounts, capacity_us: int) -> None:
    assert amounts.capacity_us == capacity_us
    assert amounts.used_us == pytest.approx(capacity_us / 2, rel=0.05)
    assert amounts.used_us + amounts.idle_us == capacity_us
