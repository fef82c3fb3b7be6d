"""docs/doctor.md explains every line that the doctor can print, and no other."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "doctor.md").read_text()
FOLDER = ROOT / "agent" / "doctor"
LEVELS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}
VALUE = r"(?:[A-Z][A-Z0-9]*)?"  # how the page writes what differs from line to line; it may be nothing


def names() -> dict[str, dict[str, str]]:
    """The constants of each module that are texts: what its lines are called."""
    return {
        path.stem: {
            target.id: value.value
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for targets, values in [_paired(node)]
            for target, value in zip(targets, values, strict=True)
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str)
        }
        for path in sorted(FOLDER.glob("*.py"))
    }


def _paired(node: ast.Assign) -> tuple[list[ast.expr], list[ast.expr]]:
    (target,) = node.targets
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return target.elts, node.value.elts
    return [target], [node.value]


def name_of(expression: ast.expr, module: str) -> str:
    """What a line is called by the code: NAME of its own module or of another one, or the check's own name."""
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        return NAMES.get(expression.value.id, {}).get(expression.attr, "any")
    assert isinstance(expression, ast.Name)
    return NAMES[module][expression.id]


def pattern(words: ast.expr) -> str:
    """What a text or an f-string looks like on the page."""
    if isinstance(words, ast.JoinedStr):
        return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else VALUE for part in words.values)
    assert isinstance(words, ast.Constant), f"not a literal: {ast.unparse(words)}"
    return re.escape(str(words.value))


def printed() -> list[tuple[str, str, str]]:
    """(line, level, pattern of what is found) of every finding in the code."""
    calls = [(path.stem, node) for path in FOLDER.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    return sorted(
        {
            (name_of(node.args[0], module), LEVELS[node.func.id], pattern(node.args[1]))
            for module, node in calls
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LEVELS
        }
    )


NAMES = names()
ROWS = re.findall(r"^\| ([a-z-]+) \| (ok|warn|FAIL) \| `([^`]+)` \|", PAGE, re.MULTILINE)
PRINTED = printed()


def fits(printed: tuple[str, str, str], row: tuple[str, str, str]) -> bool:
    return printed[:2] == row[:2] and bool(re.fullmatch(printed[2], row[2]))


def test_every_line_is_explained() -> None:
    assert [each for each in PRINTED if not any(fits(each, row) for row in ROWS)] == []


def test_every_line_that_is_explained_can_be_printed() -> None:
    assert [row for row in ROWS if not any(fits(each, row) for each in PRINTED)] == []


def test_the_page_and_the_code_have_as_many_lines() -> None:
    """A pattern that fits everything (the words of somebody else) must not hide that a line has no row."""
    assert len(ROWS) == len(set(ROWS)) >= len(PRINTED) > 80
