"""Documents cannot drift: their links lead somewhere, their words and figures are those of the code."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.pages import ROOT, commands
from typer.core import TyperGroup

from gputally.accounting.states import Basis, OwnerKind, Reason, Source, State
from gputally.collector.cli.main import app

README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
PAGES = (README, *(ROOT / "docs" / f"{name}.md" for name in ("chargeback", "dashboards", "kubernetes", "operations")))
SPANS = re.compile(r"`(gputally [a-z][^`\n]*)`")
FIRST_SCREEN = 30  # lines


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
    in_blocks = commands(README.read_text())
    named |= {command.removeprefix("make ") for command in in_blocks if command.startswith("make ")}
    listed = set(re.findall(r"^  make (\w+)", make("help"), re.MULTILINE))
    assert {target for names in named for target in names.split()} <= listed


def test_make_test_runs_the_whole_suite() -> None:
    """`make test` is what runs this test, so it is looked at and not run again."""
    assert make("-n", "test").splitlines()[-1] == ".venv/bin/pytest --numprocesses=4 --dist=worksteal"


@pytest.mark.parametrize("line", sorted({span for path in PAGES for span in SPANS.findall(path.read_text())}))
def test_every_command_within_a_sentence_is_one_that_there_is(line: str) -> None:
    """Those of blocks are run: test_docs_commands.py."""
    _, *words = shlex.split(line)
    command = typer.main.get_command(app)
    while words and isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} - flags == set()


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
