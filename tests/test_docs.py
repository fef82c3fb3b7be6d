"""Documents cannot drift: their commands run, their links lead somewhere, their figures are what the code computes."""

import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from gputally.accounting.keys import PLATFORM, Holding, Owner
from gputally.accounting.settlement import Coverage, Settled, Stretch, settle
from gputally.accounting.split import largest_remainder
from gputally.accounting.states import Basis, OwnerKind, Reason, Source, State

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
FIRST_SCREEN = 30  # lines
SECOND = 1_000_000  # microseconds


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
    assert make("-n", "test").splitlines()[-1] == ".venv/bin/pytest"


@pytest.mark.parametrize("line", [line for line in commands() if "gputally" in line and not line.startswith("pip")])
def test_every_flag_in_the_readme_is_one_that_the_command_has(line: str) -> None:
    words = shlex.split(line)
    command = words[:2] if words[0] == "gputally" else words[:1]
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
            shown = read_until(process, r"(?m)^ *total ", seconds=100)
        finally:
            os.killpg(process.pid, signal.SIGINT)
        shown += process.communicate(timeout=20)[0].decode()
    assert "Traceback" not in shown
    for word in ("namespace", "reserved", "used", "idle", "kWh", "training", "(platform)"):
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


# The worked example of docs/attribution.md.


def table(heading: str) -> list[dict[str, str]]:
    """The first table below a heading of docs/attribution.md, a row a dict."""
    text = (ROOT / "docs" / "attribution.md").read_text().partition(f"## {heading}\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    length = next((i for i, row in enumerate(rows) if i > 1 and len(row) != len(rows[0])), len(rows))
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:length]]


OWNERS = {
    "user-1000": Owner(OwnerKind.HOST, user="user-1000"),
    "platform": PLATFORM,
    "train-0": Owner(OwnerKind.POD, namespace="research", pod="train-0", container="main", pod_uid="1"),
}
IDLE_POWER_MW = 70_000


def stretch(row: dict[str, str]) -> Stretch:
    """A row of "What the agent saw" as settlement takes it."""
    guest = Fraction(int(row["user-1000 busy"]) * SECOND)
    return Stretch(
        duration_us=int(row["seconds"]) * SECOND,
        holdings=(Holding(OWNERS[row["holder"]]),) if row["holder"] != "nobody" else (),
        coverage=Coverage.MEASURED if row["coverage"] == "measured" else Coverage(Reason(row["coverage"])),
        busy_us=Fraction(int(row["device busy"]) * SECOND),
        process_busy_us={OWNERS["user-1000"]: guest} if guest else {},
        energy_mj=Fraction(int(row["energy mJ"])),
        idle_power_mw=IDLE_POWER_MW,
    )


def printed(settled: Settled) -> dict[tuple[str, str, str], list[Fraction]]:
    """Lines in the columns of "The lines of the window": seconds, then millijoules."""
    names = {owner: name for name, owner in OWNERS.items()}
    states = (State.USED, State.IDLE, State.UNALLOCATED, State.UNOBSERVED)
    return {
        (names[key.owner], key.basis.value, key.reason.value): [
            *(amounts.states.get(state, Fraction(0)) / SECOND for state in states),
            amounts.energy_idle_mj,
            amounts.energy_dynamic_mj,
        ]
        for key, amounts in settled.items()
    }


def test_the_worked_example_is_what_the_code_computes() -> None:
    settled: Settled = {}
    for row in table("What the agent saw"):
        settled |= settle(stretch(row))  # no two stretches of the example have a line in common
    columns = ("used s", "idle s", "unallocated s", "unobserved s", "idle mJ", "dynamic mJ")
    written = {
        (row["owner"], row["basis"], row["reason"]): [Fraction(row[column]) for column in columns]
        for row in table("The lines of the window")
    }
    assert written == printed(settled)


def test_the_rounding_example_is_what_the_code_computes() -> None:
    busy = Fraction(166_667 * 77, 100)
    assert largest_remainder(166_667, [busy, 166_667 - busy]) == [128_334, 38_333]
    assert "128,334 used, 38,333" in (ROOT / "docs" / "attribution.md").read_text()
