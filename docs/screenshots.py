"""Takes the documents' pictures of the pages, in a real Chromium over the fleet of the demo on a day in November.

Run in the repository's root: PYTHONPATH=. .venv/bin/python docs/screenshots.py
"""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from sqlalchemy import Engine
from tests.collector.web.browser import Watched, browser
from tests.collector.web.fixtures import pages
from tests.collector.web.serving import serving
from tests.waste_month import learn
from tests.windows import all_received

from gputally.accounting.ledger_hour import to_us
from gputally.agent.simulated.scenario_file import load
from gputally.collector.cluster.watch import Listing, ObjectKind
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle
from gputally.collector.queues.history import QueueHistory
from gputally.collector.queues.quota import read_cluster_queue, read_local_queue
from gputally.demo.backfill import DAY_US, days
from gputally.demo.books import apply_books
from gputally.demo.cluster import Cluster
from gputally.demo.repeat import Days

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "img"
ZONE = ZoneInfo("UTC")
MONTH_US = to_us(datetime(2026, 11, 1, tzinfo=UTC))
NOW_US = to_us(datetime(2026, 11, 18, 14, 23, tzinfo=UTC))  # a Wednesday: notebooks are open
DESK = {"viewport": {"width": 1240, "height": 780}}
TALL = {"viewport": {"width": 1240, "height": 1080}}
PICTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("overview", "/", TALL),
    ("workloads", "/workloads", DESK),
    ("queues", "/queues", {"viewport": {"width": 1240, "height": 660}}),
    ("advice", "/advice", {"viewport": {"width": 1240, "height": 520}}),
    ("idle", "/idle", {"viewport": {"width": 1240, "height": 560}}),
    ("namespace", "/namespaces/vision", DESK),
    ("gpus", "/gpus?node=node-c", DESK),
    ("statement", "/statement", DESK),
)


def fill(engine: Engine) -> None:
    """The month so far, as the demo fills it in, with whose work its pods are, its queues, prices and budgets."""
    committer = Committer(engine, ZONE, max_age_us=None)
    nodes = {path.stem: load(path, NOW_US) for path in sorted((ROOT / "demo" / "scenarios").glob("*.json"))}
    queues = list(yaml.safe_load_all((ROOT / "demo" / "queues.yaml").read_bytes()))
    cluster = Cluster(nodes, MONTH_US - 14 * DAY_US, queues)
    learn(engine, "demo", cluster, NOW_US)
    learn_queues(engine, cluster)
    for node, scenario in nodes.items():
        life = Days(scenario, "demo", node)
        for start_us, end_us in days(MONTH_US, NOW_US):
            windows = [window for some in life.windows(start_us, end_us) for window in some]
            committer.commit(all_received(windows), now_us=NOW_US)
    apply_books(engine, NOW_US)
    settle(engine, ZONE)


def learn_queues(engine: Engine, cluster: Cluster) -> None:
    """Let the ledger know the quotas, as the watch of Kueue's API would."""
    history = QueueHistory(engine, "demo", lambda: MONTH_US)
    quotas = [read_cluster_queue(one) for one in cluster.objects("clusterqueues", MONTH_US)]
    history.replace(ObjectKind.CLUSTER_QUEUE, Listing(quotas, "1"))
    ways = [read_local_queue(one) for one in cluster.objects("localqueues", MONTH_US)]
    history.replace(ObjectKind.LOCAL_QUEUE, Listing(ways, "1"))


def main() -> None:
    """Write every picture anew."""
    with tempfile.TemporaryDirectory(prefix="gputally-pictures-") as folder:
        engine = open_database(f"sqlite:///{folder}/gputally.sqlite")
        migrate(engine)
        fill(engine)
        with pages(engine, now_us=lambda: NOW_US) as app, serving(app) as url, browser() as chrome:
            for name, path, options in PICTURES:
                watched = Watched(chrome, url, **options, color_scheme="light")
                watched.open(path).screenshot(path=IMAGES / f"page-{name}.png")
                watched.close()
        engine.dispose()


if __name__ == "__main__":
    main()
