"""Draws the documents' picture of `gputally top`, over the fleet of the pages' tests.

Run in the repository's root: PYTHONPATH=. .venv/bin/python docs/top_picture.py
"""

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console
from tests.collector.web.fixtures import NOW_US, UTC, fill

from gputally.collector.database.engine import open_database, reading
from gputally.collector.database.migrate import migrate
from gputally.collector.top.draw import Frame, Shown, Size, frame
from gputally.collector.top.facts import Where, read_facts
from gputally.collector.top.keys import HELP

PICTURE = Path(__file__).parent / "img" / "top.svg"
_SIZE = Size(104, 18)
_FONT_FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # a picture asks no other host


def main() -> None:
    """Write the picture anew."""
    PICTURE.write_text(drawn(fleet()))


def fleet() -> Frame:
    """The frame that a terminal would show."""
    with tempfile.TemporaryDirectory(prefix="gputally-picture-") as folder:
        engine = open_database(f"sqlite:///{folder}/gputally.sqlite")
        migrate(engine)
        fill(engine)
        with reading(engine) as connection:
            facts = read_facts(connection, UTC, NOW_US, Where())
        engine.dispose()
    return frame(facts, NOW_US + 32_000_000, Shown(), _SIZE, HELP)


def drawn(found: Frame) -> str:
    """The frame as SVG."""
    console = Console(file=io.StringIO(), record=True, width=_SIZE.width, force_terminal=True, color_system="truecolor")
    console.print(found.drawn)
    return _FONT_FROM_ELSEWHERE.sub("", console.export_svg(title="gputally top", unique_id="top"))


if __name__ == "__main__":
    main()
