"""A fleet that is connected: N agents on streams of their own send a window of 16 lines each minute to a collector.

    PYTHONPATH=. python benchmarks/streams.py --agents 10000 --seconds 120

Fewer agents send more often, so that the collector gets as many messages a second as from 10,000. Beside it, a gRPC
server that throws everything away gets the same messages. Agents live in this process, on the same two cores.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import machine
from agents import Agent, connected, run
from content import MINUTE_US, batches, messages
from cpu import CpuOf, pss_mib
from serving import DURABLE, Server, collector, null_server, postmaster
from table import Figure, at_most, page, ratio_at_most
from tests.databases import running_postgres

AGENTS, SECONDS = 200, 20
RATE = 10_000 / 60  # messages a second
_KNOWN, _EACH = 20, 30  # agents, and their windows, before the memory is looked at: what is there once is there then
_SETTLED_S = 5  # until the hours of these are recomputed


@dataclass(frozen=True, slots=True)
class Load:
    """What a server took: CPU seconds a second and milliseconds a message, KiB a stream, seconds until an answer."""

    cores: float
    message_ms: float
    stream_kib: float
    median_s: float
    p99_s: float
    database_cores: float = 0.0


def figures(*, quick: bool) -> list[Figure]:
    """The default fleet."""
    return measure(AGENTS // 2, 10, rounds=1) if quick else measure(AGENTS, SECONDS)


def measure(count: int, seconds: float, rounds: int = 2) -> list[Figure]:
    """A collector, and a server that does nothing, under the same load in turns."""
    _allow_connections(count)
    loads: dict[str, list[Load]] = {"ours": [], "null": []}
    with tempfile.TemporaryDirectory() as folder, running_postgres(DURABLE) as server:
        url = server.create(migrated=True)
        for round_ in range(rounds):
            with null_server(Path(folder)) as null:
                loads["null"].append(run(_load(null, None, count, seconds, round_)))
            with collector(Path(folder), url) as ours:
                loads["ours"].append(run(_load(ours, postmaster(url), count, seconds, round_)))
    return _figures(count, *(_middle(loads[name]) for name in ("ours", "null")))


def _figures(count: int, ours: Load, null: Load) -> list[Figure]:
    live, null_server = f"{count:,} agents, {RATE:.0f} messages/s", "server that does nothing"
    return [
        Figure(f"{live}: collector", ours.cores * 100, "% of a core", null_server, null.cores * 100, at_most(25)),
        Figure(
            "CPU of a message of 16 lines",
            ours.message_ms,
            "ms",
            null_server,
            null.message_ms,
            ratio_at_most(1.25),
            True,
        ),
        Figure("PostgreSQL's part of it", ours.database_cores * 100, "% of a core"),
        Figure("memory of a stream", ours.stream_kib, "KiB", null_server, null.stream_kib, at_most(64)),
        Figure("acknowledged: median", ours.median_s * 1000, "ms", null_server, null.median_s * 1000),
        Figure("acknowledged: p99", ours.p99_s * 1000, "ms", null_server, null.p99_s * 1000),
    ]


async def _load(server: Server, database: int | None, count: int, seconds: float, round_: int) -> Load:
    """Everybody sends one window, which makes them known; then the load for so many seconds.

    The last window of each ends now, and each round has nodes of its own: there is nothing that a gap could be.
    """
    each = max(1, round(RATE * seconds / count))
    start_us = (time.time_ns() // 1000 // MINUTE_US - each - 1) * MINUTE_US
    node = round_ * (count + _KNOWN)
    sent = [_windows(node + at, start_us, each + 1) for at in range(count)]  # nobody waits for it while connected
    async with connected(server.target, _KNOWN) as first:
        early_us = start_us - _EACH * MINUTE_US
        await _pace(first, [_windows(node + count + at, early_us, _EACH) for at in range(_KNOWN)], RATE)
        await asyncio.sleep(_SETTLED_S)
        before_mib = pss_mib([server.pid])
        async with connected(server.target, count) as agents:
            await _pace(agents, [own[:1] for own in sent], RATE)
            for agent in agents:
                agent.latencies.clear()
            used, database_used = CpuOf(server.pid), CpuOf(*([database] if database else []))
            began = time.perf_counter()
            await _pace(agents, [own[1:] for own in sent], RATE, first=2)
            took = time.perf_counter() - began
            kib = (pss_mib([server.pid]) - before_mib) * 1024 / count
            waits = sorted(wait for agent in agents for wait in agent.latencies)
            cpu = used.seconds()
            share = database_used.seconds() / took
            return Load(cpu / took, cpu * 1000 / len(waits), kib, median(waits), waits[len(waits) * 99 // 100], share)


def _windows(number: int, start_us: int, minutes: int) -> list[bytes]:
    """An agent's windows, one a message."""
    return batches(messages(number, start_us, minutes), 1)


async def _pace(agents: Sequence[Agent], sent: Sequence[Sequence[bytes]], rate: float, first: int = 1) -> None:
    """Agent after agent sends its next message, at so many a second over all; ends when all are answered."""
    began, count = time.perf_counter(), 0
    for turn in range(max(map(len, sent))):
        for agent, own in zip(agents, sent, strict=True):
            count += 1
            ahead_s = began + count / rate - time.perf_counter()
            await asyncio.sleep(max(0.0, ahead_s))
            await agent.send(own[turn], first + turn)
    await asyncio.gather(*(agent.settled() for agent in agents))


def _middle(loads: Sequence[Load]) -> Load:
    return Load(*(median(getattr(load, name) for load in loads) for name in Load.__slots__))


def _allow_connections(count: int) -> None:
    """As many open files as the connections need, here and in what is started from here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert most > count * 1.2 + 200, f"the system allows {most} open files (ulimit -Hn), too few for {count} agents"
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    machine.on_few_cores()
    sys.stdout.write(f"{machine.heading()}\n{page(measure(given.agents, given.seconds, given.rounds))}")


if __name__ == "__main__":
    main()
