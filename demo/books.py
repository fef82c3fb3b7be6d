"""The demo's prices, teams and budgets: the example rate card, whose prices are invented, and two files in `books/`."""

from pathlib import Path

from sqlalchemy import Engine

from gputally.collector.cli.rates import example_card
from gputally.collector.files.applied import Kind, apply_file

_BOOKS = Path(__file__).with_name("books")
APPLIED_BY = "demo"


def apply_books(engine: Engine, now_us: int) -> None:
    """Apply them to a database that has this version's schema, as `gputally rates apply` and its like do."""
    for kind, content in (
        (Kind.RATES, example_card()),
        (Kind.TEAMS, (_BOOKS / "teams.yaml").read_bytes()),
        (Kind.BUDGETS, (_BOOKS / "budgets.yaml").read_bytes()),
    ):
        apply_file(engine, kind, content, APPLIED_BY, now_us)
