"""The collector as a process tells what it finds in its database, and keeps the URL to itself."""

import os
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.collector.notify.receiver import SECRET, Reply, WebhookReceiver
from tests.programs import module, running, wait_until
from tests.windows import MINUTE_US, all_received, device, pod, reserved, window

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate
from gputally.collector.ingest.commit import Committer

DEADLINE_S = 60
PORTS = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")


def fill(url: str) -> None:
    """An hour in which a pod held a GPU and used nothing, up to now."""
    engine = open_database(url)
    migrate(engine)
    now_us = time.time_ns() // 1000
    first_us = (now_us // MINUTE_US - 60) * MINUTE_US
    minutes = [window(device(reserved(pod(), 0, MINUTE_US)), start_us=first_us + at * MINUTE_US) for at in range(60)]
    Committer(engine, ZoneInfo("UTC"), max_age_us=None).commit(all_received(minutes), now_us=now_us)
    engine.dispose()


def test_it_tells_without_being_asked(receiver: WebhookReceiver, url_file: Path, tmp_path: Path) -> None:
    """An hour of idleness is in the database when it starts; the first answer is a failure, which the log tells."""
    url = f"sqlite:///{tmp_path / 'gputally.sqlite'}"
    fill(url)
    receiver.replies = [Reply(404, body=SECRET)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GPUTALLY_")}
    command = module("gputally.collector.main", "--database-url", url, "--webhook-url-file", str(url_file), *PORTS)
    with running(command, tmp_path / "log", env) as process:
        wait_until(lambda: receiver.paths, DEADLINE_S, f"a message:\n{process.log}")
        wait_until(lambda: "trying again in 15 s" in process.log, DEADLINE_S, "the line about it")
        assert process.stop() == 0
    assert "the webhook takes no message, trying again in 15 s: HTTP 404 Not Found" in process.log
    assert SECRET not in process.log
    assert "Traceback" not in process.log
