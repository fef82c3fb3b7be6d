"""The findings as people read them, and as JSON."""

import json
import textwrap
from collections.abc import Iterator, Sequence

from gputally.agent.doctor.finding import Finding, Level, exit_status

_COLOURS = {Level.OK: "\x1b[32m", Level.WARN: "\x1b[33m", Level.FAIL: "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_NARROWEST = 40  # columns of text; a terminal narrower than that may break lines itself


def as_json(cluster: str, node: str, findings: Sequence[Finding]) -> str:
    """One object; `complete` says what the exit status says."""
    lines = [
        {"check": each.check, "level": each.level.lower(), "found": each.found, "change": each.change or None}
        for each in findings
    ]
    whole = {"cluster": cluster, "node": node, "complete": exit_status(findings) == 0, "findings": lines}
    return json.dumps(whole, indent=2)


def as_text(cluster: str, node: str, findings: Sequence[Finding], *, columns: int | None, colours: bool) -> str:
    """A line for each finding, what to change below it, and the verdict; `columns` None: lines are not broken."""
    width = max((len(finding.check) for finding in findings), default=0)
    lines = [f"node {node} of cluster {cluster}", ""]
    for finding in findings:
        lines += _lines(finding, width, columns, colours=colours)
    return "\n".join([*lines, "", verdict(findings)])


def verdict(findings: Sequence[Finding]) -> str:
    """What it comes to, in one line."""
    failed = sum(finding.level is Level.FAIL for finding in findings)
    warned = sum(finding.level is Level.WARN for finding in findings)
    if not failed and not warned:
        return "usage will be complete"
    if not failed:
        return f"usage may not be complete: {warned} warn"
    return f"usage will not be complete: {failed} FAIL, {warned} warn"


def _lines(finding: Finding, width: int, columns: int | None, *, colours: bool) -> Iterator[str]:
    indent = " " * (len(Level.FAIL) + width + 4)
    found = _broken(finding.found, columns, len(indent))
    level = f"{finding.level:<{len(Level.FAIL)}}"
    if colours:
        level = f"{_COLOURS[finding.level]}{level}{_PLAIN}"
    yield f"{level}  {finding.check:<{width}}  {found[0]}"
    yield from (indent + line for line in found[1:])
    if finding.change:
        first, *rest = _broken(finding.change, columns, len(indent) + 2)
        yield f"{indent}→ {first}"
        yield from (f"{indent}  {line}" for line in rest)


def _broken(text: str, columns: int | None, indent: int) -> list[str]:
    text = " ".join(text.split())
    if columns is None:
        return [text]
    return textwrap.wrap(text, max(_NARROWEST, columns - indent), break_on_hyphens=False, break_long_words=False)
