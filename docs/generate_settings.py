"""Write docs/settings.md from the settings of both processes: `python docs/generate_settings.py [--check]`."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic.fields import FieldInfo

from gputally.agent.settings import described
from gputally.collector.address import Address
from gputally.collector.settings import ENV_PREFIX, CollectorSettings, DatabaseSettings, ReadSettings, flag

PAGE = Path(__file__).parent / "settings.md"
_UNITS = {
    "minutes": "minutes",
    "days": "days",
    "hours": "hours",
    "months": "months",
    "mib": "MiB",
}  # the last word of a collector's setting
_EXAMPLES = {"DURATION": "DURATION: `500ms`, `10s`, `7d`", "SIZE": "SIZE: `256MiB`, `1GiB`", "": "`yes|no`"}
_VALUES = {bool: "`true|false`", Path: "FILE", Address: "HOST:PORT", tuple: "TEXT,TEXT"}

_HEAD = """# Settings

<!-- Written by docs/generate_settings.py from the settings in the code. Do not edit. -->

Every setting is a flag and an environment variable. The flag wins, then the variable, then the default. A flag that
does not exist, a variable that is nearly the name of a setting, and a value that cannot be used are told all at once,
and the process ends with status 2.
"""
_AGENT = """
## Agent

`gputally-agent`, in the order of its `--help`. A yes or no needs no value as a flag.
"""
_COLLECTOR = """
## Collector

`gputally-collector`, in the order of its `--help`.
"""
_COMMANDS = """
## Commands

What the commands of `gputally` take of these: {database} wherever a database is opened, {read} where
the ledger is read. They have the same names, variables and defaults there. The other flags of a command are questions
and not settings: `gputally COMMAND --help` lists them.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as people see it; `value` says what is written there, and in which unit."""

    flag: str
    variable: str
    value: str
    default: str
    reason: str


def agent() -> Iterator[Row]:
    for each in described():
        value = f"`{each.metavar}`" if "|" in each.metavar else _EXAMPLES.get(each.metavar, each.metavar)
        yield Row(each.flag, each.variable, value, each.default, each.reason)


def collector() -> Iterator[Row]:
    for name, field in CollectorSettings.model_fields.items():
        reason, _, default = (field.description or "").partition(" Default: ")
        row = Row(flag(name), ENV_PREFIX + name.upper(), _value(name, field), default, reason)
        yield replace(row, default=row.default.removesuffix("."), reason=row.reason.removesuffix("."))


def _value(name: str, field: FieldInfo) -> str:
    kinds = [kind for kind in _kinds(field.annotation) if kind is not NoneType]
    if kinds == [int]:
        unit = _UNITS.get(name.rpartition("_")[2], "")
        return f"number of {unit}" if unit else "number"
    if issubclass(kinds[0], StrEnum):
        return f"`{'|'.join(kinds[0])}`"
    return _VALUES.get(kinds[0], "TEXT")


def _kinds(annotation: Any) -> list[type]:
    """The types of an annotation: of `X | None` both, of `tuple[X, ...]` the tuple."""
    if isinstance(annotation, type):
        return [annotation]
    origin = getattr(annotation, "__origin__", None)
    return [origin] if isinstance(origin, type) else [kind for part in get_args(annotation) for kind in _kinds(part)]


def table(rows: Iterable[Row]) -> str:
    head = "| flag | variable | value | default | what for |\n|---|---|---|---|---|\n"
    return head + "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    cells = (f"`{row.flag}`", f"`{row.variable}`", row.value, row.default, row.reason)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    """The whole document."""
    database = _flags(DatabaseSettings.model_fields)
    read = _flags(name for name in ReadSettings.model_fields if name not in DatabaseSettings.model_fields)
    commands = _COMMANDS.format(database=database, read=read)
    return f"{_HEAD}{_AGENT}\n{table(agent())}{_COLLECTOR}\n{table(collector())}{commands}"


def _flags(names: Iterable[str]) -> str:
    return " and ".join(f"`{flag(name)}`" for name in names)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with --check say whether it is what would be written."""
    text = page()
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        sys.stderr.write("docs/settings.md is not what the code says: run python docs/generate_settings.py\n")
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
