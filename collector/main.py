"""`gputally-collector`: settings in, parts built, run until SIGTERM or SIGINT, then drain."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import grpc.aio

from gputally.collector.address import Address
from gputally.collector.auth.build import agents_of, grpc_tls
from gputally.collector.auth.tls import ServerTls
from gputally.collector.command_line import read_settings
from gputally.collector.commit import Committer
from gputally.collector.database import open_database
from gputally.collector.exposition import Work, make_registry, read_books
from gputally.collector.ingest import Ingest, make_server
from gputally.collector.migrate import UnknownRevision
from gputally.collector.retention import Policy, Retention
from gputally.collector.settings import CollectorSettings, SettingsError, shown
from gputally.collector.settler import Settler
from gputally.collector.startup import Database
from gputally.collector.status import StatusServer
from gputally.collector.upkeep import Upkeep
from gputally.collector.writer import Writer

_LOG = logging.getLogger(__name__)

SETTLE_EVERY_S = 2.0  # a report settles what it needs itself, so this only keeps its work small
RETRY_DATABASE_S = 5.0
DRAIN_S = 10.0  # for each of the two: streams to be acknowledged, the queue to be committed
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


def main(argv: Sequence[str] | None = None) -> int:
    """Run the collector; the exit status: 0 stopped as asked, 1 cannot run here, 2 bad settings."""
    try:
        settings = read_settings(sys.argv[1:] if argv is None else argv)
    except SettingsError as error:
        for mistake in error.mistakes:
            sys.stderr.write(f"gputally-collector: {mistake}\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        asyncio.run(_run(settings))
    except (OSError, UnknownRevision) as error:
        sys.stderr.write(f"gputally-collector: {error}\n")
        return 1
    return 0


async def _run(settings: CollectorSettings) -> None:
    """Build every part, run them until a signal, then let what was received be committed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = open_database(settings.database_url)
    database = Database(engine, shown(settings.database_url), RETRY_DATABASE_S)
    writer = Writer(Committer(engine, settings.zone, _policy(settings).lines_us), _now_us, settings.writer_queue)
    retention = Retention(engine, settings.zone, _policy(settings), _now_us)
    absent_after_us = settings.absent_after_hours * _HOUR_US
    upkeep = Upkeep(engine, settings.zone, absent_after_us, retention, _now_us)
    settler = Settler(upkeep.turn, SETTLE_EVERY_S)
    ingest = Ingest(writer, _now_us, agents_of(settings))
    tls = grpc_tls(settings)

    def work() -> Work:
        return Work(ingest.stats(), writer.stats(), settler.settled, retention.removed)

    def problems() -> Sequence[str]:
        if database.problem:
            return [database.problem]
        writing = "" if writer.healthy else writer.last_error or "the writer has ended"
        return [text for text in (writing, settler.last_error) if text]

    with _serving(
        StatusServer(settings.http_listen, make_registry(partial(read_books, engine), work), problems)
    ) as web:
        if await database.migrated(stop):
            writer.start()
            settler.start()
            await _serve_streams(settings.grpc_listen, tls, ingest, web, database, stop)
        settler.close(DRAIN_S)
        if not await asyncio.to_thread(writer.close, DRAIN_S):
            _LOG.warning("not everything could be committed; what was not is still with the agents")
    engine.dispose()


async def _serve_streams(
    listen: Address,
    tls: ServerTls | None,
    ingest: Ingest,
    web: StatusServer,
    database: Database,
    stop: asyncio.Event,
) -> None:
    server = make_server(ingest)
    address = _listen(server, listen, tls)
    await server.start()
    sys.stdout.write(
        f"gputally-collector: agents on {address.text}, metrics on http://{web.address.text}/metrics, "
        f"database {database.name}\n"
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


@contextlib.contextmanager
def _serving(web: StatusServer) -> Iterator[StatusServer]:
    web.start()
    try:
        yield web
    finally:
        web.close()


def _policy(settings: CollectorSettings) -> Policy:
    return Policy(
        settings.line_retention_days * _DAY_US or None,
        settings.posting_retention_months,
        settings.quarantine_days * _DAY_US,
        settings.quarantine_mib << 20,
    )


def _now_us() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    sys.exit(main())
