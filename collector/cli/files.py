"""What `rates`, `teams` and `budgets` share: reading a file, telling its mistakes by line, keeping it, its history."""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Engine

from gputally.collector.allocation.period import instant
from gputally.collector.cli.database import fail, instant_of
from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Applied, Kind, apply_file, current, version, versions, whoami
from gputally.collector.files.yaml_file import MOST_BYTES, FileMistakes, Mistake

File = Annotated[str, typer.Argument(metavar="FILE", help="A YAML file, or - for standard input.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="INSTANT", help="As it was known then. Default: as it is known now.")
]


def now_us() -> int:
    """The wall clock, microseconds since the epoch."""
    return time.time_ns() // 1000


def read_file(name: str) -> bytes:
    """The content of a file, at most one byte more than is accepted; ends the command where it cannot be read."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(name).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        fail(1, [f"{name} cannot be read: {error.strerror}"])


def tell(file: str, mistakes: Iterable[Mistake], level: str) -> None:
    """Print mistakes as compilers do: the file, the line, what is wrong."""
    for mistake in mistakes:
        sys.stderr.write(f"{file}:{mistake.line}: {level}: {mistake.text}\n")


def refuse(file: str, mistakes: FileMistakes) -> NoReturn:
    """Print what is wrong with a file and end the command."""
    tell(file, mistakes.mistakes, "error")
    raise typer.Exit(2)


def keep(engine: Engine, kind: Kind, content: bytes, zone: ZoneInfo) -> None:
    """Keep a file that was checked as the newest version, and say so."""
    applied, new = apply_file(engine, kind, content, whoami(), now_us())
    state = "applied" if new else f"unchanged since {instant(applied.applied_us, zone)}"
    sys.stdout.write(f"{kind} version {applied.version} ({applied.content_hash.hex()[:12]}): {state}\n")


def print_history(engine: Engine, kind: Kind, zone: ZoneInfo) -> None:
    """Every version that was applied, the newest first."""
    with reading(engine) as connection:
        found = versions(connection, kind)
    if not found:
        sys.stdout.write(f"No {kind} were ever applied.\n")
        return
    rows = [
        (str(one.version), instant(one.applied_us, zone), one.applied_by, one.content_hash.hex()[:12])
        for one in reversed(found)
    ]
    print_table(("version", "applied", "by", "hash"), rows)


def print_version(engine: Engine, kind: Kind, number: int | None, as_of: str | None) -> None:
    """The file as it was applied, byte for byte: the version that holds, held at an instant, or has a number."""
    found = find_version(engine, kind, number, as_of)
    sys.stdout.write(found.content.decode())


def find_version(engine: Engine, kind: Kind, number: int | None, as_of: str | None) -> Applied:
    """One version; ends the command where there is none."""
    mistakes: list[str] = []
    as_of_us = instant_of("--as-of", as_of, mistakes)
    if number is not None and as_of is not None:
        mistakes.append("--version and --as-of exclude each other: give one of them")
    if mistakes:
        fail(2, mistakes)
    with reading(engine) as connection:
        found = current(connection, kind, as_of_us) if number is None else version(connection, kind, number)
    if found is None:
        which = "were applied by then" if as_of else "were applied yet" if number is None else f"of version {number}"
        fail(1, [f"no {kind} {which}"])
    return found


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest text."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    for row in (heads, *rows):
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
