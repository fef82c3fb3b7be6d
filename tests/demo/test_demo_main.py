"""`gputally demo` as a user runs it: a table soon, and after Ctrl-C nothing is left of it."""

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from tests.programs import Running, running, wait_until

TABLE_WITHIN_S = 60
NODES = ("node-a", "node-b", "node-c", "node-d", "node-e")


@contextmanager
def running_demo(folder: Path, **variables: str) -> Iterator[Running]:
    """The installed command; its temporary folder is below `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUTALLY_")}
    env: Mapping[str, str] = {**kept, "TMPDIR": str(folder), **variables}
    command = [str(Path(sys.executable).with_name("gputally")), "demo"]
    log = folder / "demo.log"
    with running(command, log, env) as demo:
        try:
            yield demo
        finally:
            for child in children(demo):  # of a demo that did not do it itself; `running` ends the demo
                child.kill()


def children(demo: Running) -> list[psutil.Process]:
    try:
        return psutil.Process(demo.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.timeout(180)
def test_the_table_comes_soon_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C is how the demo is meant to end, so it is a success."""
    with running_demo(tmp_path) as demo:
        wait_until(lambda: bool(re.search(r"(?m)^ *total ", demo.log)), TABLE_WITHIN_S, f"the table\n{demo.log}")
        assert "inference" in demo.log
        assert "EUR" in demo.log, "prices are applied before the first table"
        assert re.search(r"(?m)^export GPUTALLY_DATABASE_URL=sqlite:///\S+/demo.sqlite$", demo.log)
        assert re.search(r"(?m)^export API=http://127.0.0.1:\d+/api/v1$", demo.log)
        page = re.search(r"(?m)^Open the overview: (http://127.0.0.1:\d+/) ", demo.log)
        assert page, "the first hint"
        assert demo.log.splitlines()[1] == page.string[page.start() :].splitlines()[0]
        idle = r"segment-v2\S*</a> in \S+ has 7"
        wait_until(
            lambda: re.search(idle, httpx.get(page[1], timeout=60).text), TABLE_WITHIN_S, "who uses one of eight GPUs"
        )
        by_workload = {"window": "month", "aggregate": "workload"}
        workloads = f"{page[1]}api/v1/allocation"
        wait_until(
            lambda: "pytorchjob.kubeflow/llm-pretrain" in httpx.get(workloads, params=by_workload, timeout=60).text,
            TABLE_WITHIN_S,
            "workloads, which are known through the demo's Kubernetes API",
        )
        started = children(demo)
        programs = [process for process in started if process.ppid() == demo.process.pid]  # the rest are their probes
        modules = " ".join(word for process in programs for word in process.cmdline())
        assert "gputally.collector.main" in modules
        assert [modules.count(f"--node {node}") for node in NODES] == [1] * len(NODES)
        assert list(tmp_path.glob("gputally-demo-*"))
        assert demo.stop(signal.SIGINT) == 0, demo.log
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
        assert list(tmp_path.glob("gputally-demo-*")) == []
        assert "Traceback" not in demo.log


# Python runs it at each start, where its folder is on the path: a collector then never says that it is there.
NO_COLLECTOR = """
import signal, sys
if "gputally.collector.main" in sys.orig_argv:
    signal.pause()
"""


def test_ctrl_c_while_it_starts_is_a_success_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_COLLECTOR)
    with running_demo(tmp_path, PYTHONPATH=str(tmp_path)) as demo:
        wait_until(lambda: "starting a collector" in demo.log and children(demo), 60, "the collector's start")
        started = children(demo)
        assert demo.stop(signal.SIGINT) == 0, demo.log
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
        assert demo.log.splitlines() == ["starting a collector and 5 simulated nodes"]


def test_a_collector_that_cannot_start_ends_it_with_the_collectors_words(tmp_path: Path) -> None:
    with running_demo(tmp_path, GPUTALLY_WRITER_QUEUE="0") as demo:
        assert demo.process.wait(60) == 1
        assert "gputally demo: the collector did not start:" in demo.log
        assert "--writer-queue" in demo.log


def test_bad_settings_of_its_own_end_it_at_once(tmp_path: Path) -> None:
    with running_demo(tmp_path, GPUTALLY_TIMEZONE="Mars/Olympus") as demo:
        assert demo.process.wait(60) == 2
        assert "IANA time zone" in demo.log
        assert list(tmp_path.glob("gputally-demo-*")) == []
