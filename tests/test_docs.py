"""Documents cannot drift: their commands run, their links lead somewhere, their words are those of the code."""

import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import pytest

from gputally.accounting.states import Basis, OwnerKind, Reason, Source, State

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
FIRST_SCREEN = 30  # lines


def commands() -> list[str]:
    """Every command of the README's shell blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def make(*arguments: str) -> str:
    """What make says, quietly and in English."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C", "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


# The README.


def test_the_first_screen_has_a_picture_and_the_two_commands() -> None:
    screen = "\n".join(README.read_text().splitlines()[:FIRST_SCREEN])
    assert re.search(r"!\[.{40,}\]\(docs/img/\S+\.svg\)", screen)
    assert "make run" in screen
    assert "make test" in screen


def test_make_help_lists_every_make_command_of_the_documents() -> None:
    named = {name for path in DOCUMENTS for name in re.findall(r"`make ([a-z ]+)`", path.read_text())}
    named |= {command.removeprefix("make ") for command in commands() if command.startswith("make ")}
    listed = set(re.findall(r"^  make (\w+)", make("help"), re.MULTILINE))
    assert {target for names in named for target in names.split()} <= listed


def test_make_test_runs_the_whole_suite() -> None:
    """`make test` is what runs this test, so it is looked at and not run again."""
    assert make("-n", "test").splitlines()[-1] == ".venv/bin/pytest --numprocesses=2 --dist=worksteal"


@pytest.mark.parametrize("line", [line for line in commands() if "gputally" in line and not line.startswith("pip")])
def test_every_flag_in_the_readme_is_one_that_the_command_has(line: str) -> None:
    words = shlex.split(line)
    command = list(takewhile(str.isalpha, words)) or words[:1]
    program = Path(sys.executable).parent / command[0]
    usage = subprocess.run(
        [str(program), *command[1:], "--help"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    assert [flag for flag in flags if flag not in usage] == []


@pytest.mark.timeout(300)
def test_make_run_prints_the_namespaces_of_a_simulated_fleet(tmp_path: Path) -> None:
    """The README's first command, from its start to the table and Ctrl-C."""
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "MAKEFLAGS": ""}
    with subprocess.Popen(
        ["make", "run"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            shown = read_until(process, r"(?m)^ *total ", seconds=150)
            os.killpg(process.pid, signal.SIGINT)
            shown += process.communicate(timeout=60)[0].decode()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in shown
    for word in ("namespace", "used", "idle", "kWh", "training", "(platform)"):
        assert word in shown


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


# Links and words.


def links(path: Path) -> Iterator[tuple[str, str]]:
    """(file, anchor) of every relative link of a document."""
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_every_document_can_be_found_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / file).resolve() for file, _ in links(index)}
    assert {path for path in DOCUMENTS if path.is_relative_to(ROOT / "docs")} - linked == {index}


def test_the_rules_name_every_word_of_the_code() -> None:
    rules = (ROOT / "docs" / "accounting.md").read_text()
    words = {str(word) for kind in (State, Reason, Basis, Source, OwnerKind) for word in kind if word}
    assert {word for word in words if f"`{word}`" not in rules} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(path: Path) -> None:
    named = re.findall(r"`((?:agent|collector|accounting|proto|demo|tests|benchmarks)/[\w/.]+)`", path.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_settings_page_is_what_the_code_says() -> None:
    """`python docs/generate_settings.py` writes it anew."""
    generator = ROOT / "docs" / "generate_settings.py"
    done = subprocess.run(
        [sys.executable, str(generator), "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
