"""The dashboards as they are in the repository: their panels, queries and variables, read from the JSON."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards" / "grafana"
BOARDS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel; `text` is PromQL, or SQL where `is_sql`."""

    board: str
    panel: str
    ref: str
    text: str
    is_sql: bool
    instant: bool

    def __str__(self) -> str:
        return f"{self.board} / {self.panel} / {self.ref}"


def panels(board: str) -> list[Json]:
    """All panels but headings."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def variables(board: str) -> list[Json]:
    """What can be chosen, in its order."""
    return list(BOARDS[board]["templating"]["list"])


def queries() -> Iterator[Query]:
    """Of every panel of every dashboard."""
    for board in BOARDS:
        for panel in panels(board):
            for target in panel.get("targets", ()):
                text = target.get("rawSql") or target["expr"]
                yield Query(
                    *(board, panel["title"], target["refId"], text, "rawSql" in target),
                    instant=bool(target.get("instant")),
                )


def names(text: str) -> set[str]:
    """The variables that a text uses, Grafana's own left out."""
    return {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}


def written(value: object) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from written(each)
    elif isinstance(value, list):
        for each in value:
            yield from written(each)
