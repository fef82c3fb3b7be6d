"""`gputally-collector`: settings in, parts built, run until SIGTERM or SIGINT, then drain."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc.aio
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from gputally.collector.address import Address
from gputally.collector.api.app import make_app
from gputally.collector.api.desk import Desk
from gputally.collector.api.server import HttpServer
from gputally.collector.api.service import Service
from gputally.collector.api.status import Standing, status_app, status_routes
from gputally.collector.auth.build import agents_of, grpc_tls, http_tls, readers_of
from gputally.collector.auth.tls import ServerTls
from gputally.collector.cluster.build import rules_of, watches_of
from gputally.collector.cluster.watch import ClusterWatch
from gputally.collector.command_line import read_settings
from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import UnknownRevision
from gputally.collector.database.startup import Database
from gputally.collector.exposition.books import read_books
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.page import make_registry
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.stream import Ingest, make_server
from gputally.collector.ingest.writer import GATHER_S, Writer
from gputally.collector.ledger.billing_zone import OtherZone, claim_zone
from gputally.collector.ledger.retention import Policy, Retention
from gputally.collector.ledger.settler import Settler
from gputally.collector.ledger.upkeep import Upkeep
from gputally.collector.month import read_month
from gputally.collector.month_watch import MonthWatch
from gputally.collector.notify.build import notifier_of
from gputally.collector.notify.notifier import Notifier
from gputally.collector.notify.stats import NotifyStats
from gputally.collector.settings import CollectorSettings, SettingsError, shown
from gputally.collector.statement.register import status_of
from gputally.collector.web.routes import page_routes
from gputally.collector.workloads.rule_book import RuleBook

_LOG = logging.getLogger(__name__)

SETTLE_EVERY_S = 2.0  # a report settles what it needs itself, so this only keeps its work small
RETRY_DATABASE_S = 5.0
WATCH_S = 1.0  # a watch that is silent ends with the process, and so does a question about budgets
DRAIN_S = 10.0  # for each of the two: streams to be acknowledged, the queue to be committed
# Allocations, and rounds of them, after which garbage is looked for: a group of windows is some 20,000 objects that are
# gone with its commit, and to look at them while they are there took a third of the time of a back-fill.
_GARBAGE = (20_000, 20, 10)
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


def main(argv: Sequence[str] | None = None) -> int:
    """Run the collector; the exit status: 0 stopped as asked, 1 cannot run here, 2 bad settings."""
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
        rules = rules_of(settings)
    except SettingsError as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"gputally-collector: {mistake}\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(settings, rules))
    except (OSError, UnknownRevision) as error:
        sys.stderr.write(f"gputally-collector: {error}\n")
        return 1
    except OtherZone as error:
        sys.stderr.write(f"gputally-collector: {error}\n")
        return 2
    return 0


async def _run(settings: CollectorSettings, rules: RuleBook) -> None:
    """Build every part, run them until a signal, then let what was received be committed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = open_database(settings.database_url)
    database = Database(engine, shown(settings.database_url), RETRY_DATABASE_S, _claim(settings))
    # The writer has a connection of its own: each new one costs it all the ids that it remembers.
    intake = open_database(settings.database_url)
    commits = Committer(intake, settings.zone, _policy(settings).lines_us)
    writer = Writer(commits, _now_us, settings.writer_queue, GATHER_S)
    retention = Retention(engine, settings.zone, _policy(settings), _now_us)
    absent_after_us = settings.absent_after_hours * _HOUR_US
    upkeep = Upkeep(engine, settings.zone, absent_after_us, retention, _now_us)
    settler = Settler(upkeep.turn, SETTLE_EVERY_S)
    watches = watches_of(settings, rules, engine, os.environ, _now_us, _monotonic_us)
    month = MonthWatch(lambda: read_month(engine, settings.zone, _now_us()), _monotonic_us)
    notifier = notifier_of(settings, engine, os.environ, _now_us)
    ingest = Ingest(writer, _now_us, agents_of(settings))
    tls = grpc_tls(settings)

    def work() -> Work:
        told = notifier.stats() if notifier else NotifyStats()
        certificate = tls.validity if tls else None
        return Work(ingest.stats(), writer.stats(), settler.settled, retention.removed, told, tasks(), certificate)

    tasks = partial(_tasks, settler, watches)
    standing = partial(_standing, database, writer, tasks)
    registry = make_registry(partial(read_books, engine), work, month.month)
    async with _serving(settings, engine, registry, standing) as doors:
        if await database.migrated(stop):
            for part in (writer, settler, *watches, month, notifier):
                if part:
                    part.start()
            await _serve_streams(settings.grpc_listen, tls, ingest, doors, database, stop)
        _close(month, watches, notifier)
        settler.close(DRAIN_S)
        if not await asyncio.to_thread(writer.close, DRAIN_S):
            _LOG.warning("not everything could be committed; what was not is still with the agents")
    intake.dispose()
    engine.dispose()


def _tasks(settler: Settler, watches: Sequence[ClusterWatch[Any]]) -> Mapping[str, str]:
    """What is wrong with what intake does not wait for, by name; empty where nothing is."""
    followed = {kind: error for watch in watches for kind, error in watch.errors.items()}
    return {"settler": settler.last_error, **followed}


def _standing(database: Database, writer: Writer, tasks: Callable[[], Mapping[str, str]]) -> Standing:
    """Ready is who can write windows: replicas share all the rest, and would all be out of service at once."""
    if database.problem:
        return Standing([database.problem])
    ended = "the writer has ended" if writer.has_ended else ""
    writing = "" if writer.healthy else ended or writer.last_error or "the writer does not run yet"
    return Standing([writing] if writing else [], [error for error in tasks().values() if error], ended)


def _close(month: MonthWatch, watches: Sequence[ClusterWatch[Any]], notifier: Notifier | None) -> None:
    month.close(WATCH_S)
    for watch in watches:
        watch.close(WATCH_S)
    if notifier:
        notifier.close(DRAIN_S)  # a message that is on its way is noted, so that no replica sends it again


async def _serve_streams(
    listen: Address, tls: ServerTls | None, ingest: Ingest, doors: "_Doors", database: Database, stop: asyncio.Event
) -> None:
    server = make_server(ingest)
    address = _listen(server, listen, tls)
    await server.start()
    gc.collect()
    gc.freeze()  # what is there now stays: to look through it again and again takes a quarter of what windows cost
    gc.set_threshold(*_GARBAGE)
    sys.stdout.write(
        f"gputally-collector: agents on {address.text}, metrics on {doors.metrics}/metrics, API on {doors.api}/api/v1, "
        f"pages on {doors.api}/, database {database.name}\n"
    )
    sys.stdout.flush()
    await stop.wait()
    _LOG.info("stopping: waiting for what was received to be committed")
    ingest.drain()
    await server.stop(DRAIN_S)


def _listen(server: grpc.aio.Server, listen: Address, tls: ServerTls | None) -> Address:
    try:
        if tls:
            return Address(listen.host, server.add_secure_port(listen.text, tls.grpc_credentials()))
        return Address(listen.host, server.add_insecure_port(listen.text))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen.text} (--grpc-listen): is another process using it?") from error


@dataclass(frozen=True, slots=True)
class _Doors:
    """Where the HTTP servers are reached, as URLs."""

    api: str
    metrics: str


@contextlib.asynccontextmanager
async def _serving(
    settings: CollectorSettings, engine: Engine, registry: CollectorRegistry, standing: Callable[[], Standing]
) -> AsyncIterator[_Doors]:
    """The API and, on their own port or beside it, the pages for machines: there from the start to the very end."""
    readers = readers_of(settings, engine)
    service = Service(engine, settings.zone, readers, Desk(), _now_us, status_of)
    status = [] if settings.metrics_listen else status_routes(registry, standing, readers)
    tls = http_tls(settings)
    app = make_app(service, status=[*status, *page_routes(service)])
    servers = [HttpServer(app, settings.http_listen, "--http-listen", tls.http_context() if tls else None)]
    if settings.metrics_listen:
        servers.append(HttpServer(status_app(registry, standing), settings.metrics_listen, "--metrics-listen"))
    api = f"{'https' if tls else 'http'}://{servers[0].address.text}"
    for server in servers:
        server.start()
    try:
        yield _Doors(api, f"http://{servers[1].address.text}" if settings.metrics_listen else api)
    finally:
        for server in servers:
            await server.close()


def _claim(settings: CollectorSettings) -> Callable[[Engine], None]:
    return lambda engine: claim_zone(engine, settings.timezone)


def _policy(settings: CollectorSettings) -> Policy:
    return Policy(
        settings.line_retention_days * _DAY_US or None,
        settings.posting_retention_months,
        settings.quarantine_days * _DAY_US,
        settings.quarantine_mib << 20,
    )


def _now_us() -> int:
    return time.time_ns() // 1000


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


if __name__ == "__main__":
    sys.exit(main())
