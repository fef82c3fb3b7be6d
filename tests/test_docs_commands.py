"""Every command of the documents is run here, but for those that docs/commands-not-run.md lists.

Three places to run them in: beside the demo (the README up to its installation), on a PostgreSQL with a backup of it
(test_backup.py), and in a folder with a collector, an agent with simulated GPUs and a webhook's receiver.
"""

import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from tests.chaos.parts import scenario
from tests.collector.notify.receiver import WebhookReceiver
from tests.pages import ROOT, bash, commands, environment, section
from tests.programs import running, wait_until

README, OPERATIONS = "README.md", "docs/operations.md"
LIST = "docs/commands-not-run.md"
AS_A_WHOLE = "docs/chargeback.md"  # test_chargeback.py
DOCS = [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]
PAGES = [README, *(page for page in DOCS if page not in (LIST, AS_A_WHOLE))]
BESIDE_THE_DEMO = ("", "Whose work, and what kind of waste", "From GPU-hours to money")
BACKUP = "Backup and restore"
READY = r"agents on (\S+), metrics|on port \d+"
# How commands begin that may be run in each place: nothing else is done to the machine that runs the tests.
OF_OURS = ("gputally ", "gputally-agent ", "gputally-collector")
MAY_RUN = {
    "demo": ("make run", "gputally ", 'curl -s "$API/'),
    "backup": ("pg_dump ", "psql ", "pg_restore ", "sqlite3 ", "gputally "),
    "folder": (*OF_OURS, "python3 deploy/new_site.py site ", "sed -i 's#http://localhost:9857#"),
}


def text(page: str) -> str:
    return (ROOT / page).read_text()


NOT_RUN = commands(text(LIST))
OF_THE_DEMO = [line for line in commands(section(text(README), *BESIDE_THE_DEMO)) if line not in NOT_RUN]
OF_THE_BACKUP = commands(section(text(OPERATIONS), BACKUP))
ELSEWHERE = {*NOT_RUN, *OF_THE_DEMO, *OF_THE_BACKUP}
OF_THE_FOLDER = {page: [line for line in commands(text(page)) if line not in ELSEWHERE] for page in PAGES}
PLACES = {
    "demo": OF_THE_DEMO,
    "backup": OF_THE_BACKUP,
    "folder": [line for lines in OF_THE_FOLDER.values() for line in lines],
}


@pytest.mark.parametrize("place", PLACES)
def test_every_command_is_run_or_listed(place: str) -> None:
    """One that is neither fails here; those that no place is made for are listed, or a place is made for them."""
    assert [line for line in PLACES[place] if not line.startswith(MAY_RUN[place])] == []


def test_what_is_listed_stands_on_a_page() -> None:
    known = {line for page in PAGES for line in commands(text(page))}
    assert [line for line in NOT_RUN if line not in known] == []
    assert len(NOT_RUN) == len(set(NOT_RUN))


# Beside the demo.


@pytest.mark.timeout(300)
def test_make_run_and_what_the_readme_asks_it(tmp_path: Path) -> None:
    """The README's first command, from its start to the table and Ctrl-C; then its questions, with what it prints."""
    start, *questions = OF_THE_DEMO
    assert start == "make run"
    assert [line for line in questions if not line.startswith(MAY_RUN["demo"])] == []
    with demo(tmp_path) as process:
        shown = read_until(process, r"(?m)^ *total ", seconds=150)
        for word in ("namespace", "used", "idle", "kWh", "training", "(platform)"):
            assert word in shown
        env = environment(tmp_path, **dict(re.findall(r"^export (\w+)=(\S+)$", shown, re.MULTILINE)))
        with back_fill_held(process.pid):
            answers = [bash(question, tmp_path, env) for question in questions]
        os.killpg(process.pid, signal.SIGINT)
        shown += process.communicate(timeout=60)[0].decode()
    assert len(questions) >= 5
    assert all(answers)
    assert "Traceback" not in shown


@contextmanager
def demo(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`make run`, gone afterwards with all of its children."""
    env = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "MAKEFLAGS": "", "NO_BROWSER": "1"}
    with subprocess.Popen(
        ["make", "run"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def back_fill_held(make: int) -> Iterator[None]:
    """The demo fills in no more meanwhile: what is there is enough to ask for, and the month takes both processors."""
    children = psutil.Process(make).children(recursive=True)
    [filling] = [child for child in children if child.cmdline()[-1:] == ["demo"]]
    filling.suspend()
    try:
        yield
    finally:
        filling.resume()


def read_until(process: "subprocess.Popen[bytes]", pattern: str, seconds: float) -> str:
    """What the process has printed when the pattern appears; fails when it ends or takes too long."""
    assert process.stdout is not None
    deadline, shown = time.monotonic() + seconds, ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not re.search(pattern, shown):
            assert selector.select(max(0.0, deadline - time.monotonic())), f"no table in {seconds} s:\n{shown}"
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, f"it ended without a table:\n{shown}"
            shown += piece.decode(errors="replace")
    return shown


# In a folder.


@dataclass
class Place:
    """A folder in which the commands find what they name; what they start runs on until the end of the page."""

    folder: Path
    env: Mapping[str, str]
    stack: ExitStack
    replaced: dict[str, str] = field(default_factory=dict)
    started: int = 0

    def run(self, command: str) -> None:
        """Run it here; a collector, or an agent that goes on, until it serves."""
        for name, stands_for in self.replaced.items():
            command = command.replace(name, stands_for)
        if command.startswith(("gputally-collector", "gputally-agent --node")):
            self._start(command)
        else:
            bash(command, self.folder, self.env)

    def _start(self, command: str) -> None:
        self.started += 1
        log = self.folder / f"{self.started}.log"
        program = self.stack.enter_context(running(["bash", "-c", f"exec {command}"], log, self.env))
        found = wait_until(lambda: re.search(READY, program.log), 60, f"{command}\n{program.log}")
        if found[1]:
            self.replaced["localhost:9856"] = found[1]


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """The folder of one page."""
    (folder / "scenario.json").write_text(scenario(1))
    shutil.copytree(ROOT / "dashboards" / "grafana", folder / "grafana")
    receiver = WebhookReceiver()
    (folder / "slack-url").write_text(receiver.url)
    env = environment(
        folder,
        GPUTALLY_NVML="simulated",
        GPUTALLY_SCENARIO=str(folder / "scenario.json"),
        GPUTALLY_SPOOL_DIR=str(folder / "spool"),
        GPUTALLY_WINDOW="1s",
        GPUTALLY_HTTP_LISTEN="127.0.0.1:0",
        GPUTALLY_GRPC_LISTEN="127.0.0.1:0",
    )
    stands_for = {
        "/var/lib/grafana/dashboards/gputally": str(folder / "grafana"),
        "/run/secrets/webhook/url": str(folder / "slack-url"),
        "python3 deploy/": f"python3 {ROOT}/deploy/",
    }
    with ExitStack() as stack:
        stack.callback(receiver.close)
        yield Place(folder, env, stack, stands_for)


@pytest.mark.parametrize("page", [page for page in PAGES if OF_THE_FOLDER[page]])
def test_the_commands_of_a_page(page: str, tmp_path: Path) -> None:
    """In their order, with ports and folders of the test's."""
    with place(tmp_path) as here:
        for command in OF_THE_FOLDER[page]:
            assert command.startswith(MAY_RUN["folder"]), f"neither run nor listed: {command}"
            here.run(command)
