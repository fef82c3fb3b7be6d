"""What a check found, in one line, and what to change where that is not as it should be."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

COMPLETE, INCOMPLETE = 0, 1  # exit statuses; 2 is for settings that cannot be used


class Level(StrEnum):
    """`warn`: it works, but something is lost or cannot be told. `FAIL`: usage will lack something."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `change` is empty where nothing is to be changed."""

    check: str
    level: Level
    found: str
    change: str = ""


def ok(check: str, found: str) -> Finding:
    """As it should be."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, change: str) -> Finding:
    """It works, but something is lost, or could not be told."""
    return Finding(check, Level.WARN, found, change)


def fail(check: str, found: str, change: str) -> Finding:
    """Usage will lack something, or will not arrive."""
    return Finding(check, Level.FAIL, found, change)


def exit_status(findings: Iterable[Finding]) -> int:
    """0 where every line is ok. What could not be told counts as incomplete: unknown is not good."""
    return COMPLETE if all(finding.level is Level.OK for finding in findings) else INCOMPLETE
