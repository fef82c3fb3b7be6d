"""docs/operations.md explains every line by which a process says that something is wrong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from gputally.agent.exposition import text as of_agent
from gputally.agent.snapshot import Snapshot, StreamState
from gputally.collector.exposition import books, itself, page
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
SIDES = ("accounting", "agent", "collector", "demo", "proto")
LEVELS = {"warning", "error", "exception", "critical"}
# What an agent is not ready for is the text of one of these; see `Agent.snapshot.not_ready`.
PROBLEMS = {
    "Busy",
    "DriverReplaced",
    "DriverUnavailable",
    "Failure",
    "JobsUnreadable",
    "KubeApiError",
    "KubeletSilent",
    "Missing",
    "Refused",
    "SocketForbidden",
    "SocketMissing",
    "SpoolFull",
    "SpoolInUse",
    "Unreachable",
}
# Words that stand in constants, for one of these or for a state.
CONSTANTS = {"NO_GPU", "_BY_SIGNAL", "_DISK_FULL", "_SILENT", "_WHAT_TO_DO"}
VALUE = r"[A-Z][A-Z0-9_./-]*"  # how the page writes what differs from line to line


def spans(column: str) -> list[str]:
    """What stands between backticks in the first cells of the tables whose first column has this name."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        head, _, *rows = block.splitlines()
        if head.split("|")[1].strip() == column:
            found += [span for row in rows for span in re.findall(r"`` (.+?) ``|`([^`]+)`", row.split("|")[1])]
    return [double or single for double, single in found]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the code, with the file that it stands in."""
    for side in SIDES:
        for path in sorted((ROOT / side).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield str(path.relative_to(ROOT)), node


CALLS = tuple(calls())  # to read all of the code takes its time, in each of the tests' workers


def logged() -> Iterator[tuple[str, ast.expr]]:
    """The format of every log line of level warning or worse."""
    for file, call in CALLS:
        spoken = call.func
        if isinstance(spoken, ast.Attribute) and spoken.attr in LEVELS and "log" in ast.unparse(spoken.value).lower():
            yield file, call.args[0]


def problems() -> Iterator[tuple[str, ast.expr]]:
    """The words of everything that makes an agent not ready; what only passes on other words is left out."""
    for file, call in CALLS:
        is_one = file.startswith("agent/") and isinstance(call.func, ast.Name) and call.func.id in PROBLEMS
        if is_one and call.args and isinstance(call.args[0], ast.Constant | ast.JoinedStr):
            yield file, call.args[0]


def constants() -> Iterator[str]:
    """Every text in the constants that are named above."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and {ast.unparse(name) for name in node.targets} & CONSTANTS:
                texts = (part for part in ast.walk(node.value) if isinstance(part, ast.Constant))
                yield from (str(text.value) for text in texts if isinstance(text.value, str))


def pattern(words: ast.expr) -> str:
    """What a format or an f-string looks like on the page."""
    if isinstance(words, ast.JoinedStr):
        return "".join(pattern(part) if isinstance(part, ast.Constant) else VALUE for part in words.values)
    assert isinstance(words, ast.Constant), f"not a literal: {ast.unparse(words)}"
    return VALUE.join(re.escape(part) for part in re.split(r"%[-.\d]*[a-z]", str(words.value)))


LOGGED = sorted({(file, pattern(words)) for file, words in logged()})
PROBLEM = sorted({(file, pattern(words)) for file, words in problems()})


@pytest.mark.parametrize(("file", "line"), LOGGED)
def test_every_log_line_of_a_trouble_is_explained(file: str, line: str) -> None:
    assert any(re.fullmatch(line, span) for span in spans("log line")), f"{file}: {line}"


def test_every_log_line_that_is_explained_exists() -> None:
    assert [span for span in spans("log line") if not any(re.fullmatch(line, span) for _, line in LOGGED)] == []


@pytest.mark.parametrize(("file", "line"), PROBLEM)
def test_everything_that_makes_an_agent_not_ready_is_explained(file: str, line: str) -> None:
    assert any(re.fullmatch(line, span) for span in spans("/readyz")), f"{file}: {line}"


@pytest.mark.parametrize("words", sorted(constants()))
def test_what_is_said_of_a_missing_driver_or_a_full_disk_is_explained(words: str) -> None:
    assert words in PAGE


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_the_names_of_problems_are_those_of_the_code(name: str) -> None:
    """A class that is renamed would take its lines out of the test above."""
    files = (path.read_text() for path in (ROOT / "agent").rglob("*.py"))
    assert any(re.search(rf"^class {name}\b", text, re.MULTILINE) for text in files)


def metrics() -> set[str]:
    """The names of everything that the two processes show to Prometheus."""
    work = itself.Work(IngestStats(), WriterStats(), settled=0)
    registry = page.make_registry(lambda: books.Books((), 0), lambda: work)
    shown = of_agent.render(Snapshot("node", stream=StreamState())) + generate_latest(registry)
    return set(re.findall(r"^# TYPE (\S+)", shown.decode(), re.MULTILINE))


def test_every_metric_that_the_page_names_exists() -> None:
    assert set(re.findall(r"\bgputally_\w+", PAGE)) - metrics() == set()
