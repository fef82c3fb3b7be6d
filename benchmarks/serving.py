"""The collector as people run it: a process of its own, on a PostgreSQL that flushes each commit to this disk."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from tests.programs import Running, module, running, wait_until

DURABLE = "-c listen_addresses='' -c shared_buffers=1GB -c max_wal_size=8GB -c jit=off"  # fsync is on by itself
_DOORS = ("--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
_NULL = Path(__file__).with_name("null_server.py")


@dataclass(frozen=True, slots=True)
class Server:
    """Something that agents stream to."""

    program: Running
    target: str

    @property
    def pid(self) -> int:
        """Its process."""
        return self.program.process.pid


@contextmanager
def collector(folder: Path, url: str) -> Iterator[Server]:
    """A collector on the database at `url`."""
    command = module("gputally.collector.main", "--database-url", url, *_DOORS)
    with running(command, _log(folder)) as program:
        try:
            yield Server(program, _address(program, r"agents on (\S+:\d+)"))
        except TimeoutError as error:
            raise AssertionError(f"the collector does not answer:\n{program.log}") from error


@contextmanager
def null_server(folder: Path) -> Iterator[Server]:
    """A gRPC server that throws everything away, and says so."""
    with running([sys.executable, str(_NULL)], _log(folder)) as program:
        yield Server(program, _address(program, r"listening on (\S+:\d+)"))


def _log(folder: Path) -> Path:
    """A file that no server before this one has written its address to."""
    return folder / f"server-{len(list(folder.iterdir()))}.log"


def _address(program: Running, pattern: str) -> str:
    def said() -> "re.Match[str] | None":
        assert program.process.poll() is None, program.log
        return re.search(pattern, program.log)

    return wait_until(said, 60, f"a server\n{program.log}")[1]  # type: ignore[index]


def postmaster(url: str) -> int:
    """The process whose children serve the database at `url`."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row
    return int((Path(row[0]) / "postmaster.pid").read_text().split()[0])
