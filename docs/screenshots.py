"""Takes the documents' pictures of the pages, in a real Chromium over the fleet of the pages' tests.

Run in the repository's root: PYTHONPATH=. .venv/bin/python docs/screenshots.py
"""

import tempfile
from pathlib import Path
from typing import Any

from tests.collector.web.browser import Watched, browser
from tests.collector.web.fixtures import fill, pages
from tests.collector.web.serving import serving

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate

IMAGES = Path(__file__).with_name("img")
DESK = {"viewport": {"width": 1240, "height": 780}}
PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2, "is_mobile": True}
PICTURES: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("overview", "/", DESK, "light"),
    ("overview-dark", "/", DESK, "dark"),
    ("overview-phone", "/", PHONE, "light"),
    ("idle", "/idle", DESK, "light"),
    ("namespace", "/namespaces/research", DESK, "light"),
    ("gpus", "/gpus?node=gpu-3", {"viewport": {"width": 1240, "height": 560}}, "light"),
    ("statement", "/statement", DESK, "light"),
)


def main() -> None:
    """Write every picture anew."""
    with tempfile.TemporaryDirectory(prefix="gputally-pictures-") as folder:
        engine = open_database(f"sqlite:///{folder}/gputally.sqlite")
        migrate(engine)
        fill(engine)
        with pages(engine) as app, serving(app) as url, browser() as chrome:
            for name, path, options, colours in PICTURES:
                watched = Watched(chrome, url, **options, color_scheme=colours)
                watched.open(path).screenshot(path=IMAGES / f"page-{name}.png")
                watched.close()
        engine.dispose()


if __name__ == "__main__":
    main()
