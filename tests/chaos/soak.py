"""`make soak MINUTES=60`: real agents, collectors and PostgreSQL, broken at random; is the ledger the truth then?

Everything runs on loopback, for the minutes that are asked for, and is ended at the end.
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.chaos.faults import FAULTS, Fault, World
from tests.chaos.parts import Collector, Node, drained
from tests.chaos.truth import Verdict, judge
from tests.databases import CRASH_SAFE, running_postgres
from tests.proxy import Proxy

from gputally.collector.database.engine import open_database
from gputally.collector.ledger.postings import settle

NODES = 2
COLLECTORS = 2
BETWEEN_S = (1.0, 4.0)
_DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, and what the ledger says after it."""

    seed: int
    faults: Counter[str]
    verdict: Verdict


def soak(
    minutes: float,
    seed: int,
    say: Callable[[str], object],
    kinds: Sequence[Fault] = FAULTS,
    between_s: tuple[float, float] = BETWEEN_S,
) -> Outcome:
    """Break parts in these ways for that long, and until each came as often as the others; then let all come back.

    Raises AssertionError where the parts do not.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gputally-soak-", dir="/tmp")))
        server = stack.enter_context(running_postgres(CRASH_SAFE))
        url = server.create(migrated=True)
        collectors = [Collector(f"collector-{number}", folder, url, stack) for number in range(COLLECTORS)]
        for collector in collectors:
            collector.start()
        lines = [stack.enter_context(Proxy(("127.0.0.1", collectors[0].port))) for _ in range(NODES)]
        nodes = [Node(number, folder, line, stack) for number, line in enumerate(lines)]
        for node in nodes:
            node.start()
        world = World(nodes, collectors, server, folder, random.Random(seed), time.sleep)
        faults, allowed = _break(world, minutes, kinds, between_s, say)
        return Outcome(seed, faults, _compare(world, url, allowed, say))


def _break(
    world: World,
    minutes: float,
    kinds: Sequence[Fault],
    between_s: tuple[float, float],
    say: Callable[[str], object],
) -> tuple[Counter[str], dict[str, float]]:
    faults: Counter[str] = Counter()
    allowed: defaultdict[str, float] = defaultdict(float)
    start = time.monotonic()
    next_kinds: list[Fault] = []
    while (left := start + 60 * minutes - time.monotonic()) > 0 or next_kinds:
        next_kinds = next_kinds or list(kinds)  # each once before any comes again: the shortest soak has them all
        fault = next_kinds.pop(world.chance.randrange(len(next_kinds)))
        say(f"{60 * minutes - left:7.1f} s  {fault.__name__.replace('_', ' ')}")
        cost = fault(world)
        faults[fault.__name__] += 1
        allowed[cost.node] += cost.seconds
        world.pause(world.chance.uniform(*between_s))
    return faults, allowed


def _compare(world: World, url: str, allowed: dict[str, float], say: Callable[[str], object]) -> Verdict:
    """Let everything arrive, stop, let the rest arrive, and look."""
    say("          waiting for what is under way")
    drained(world.nodes, _DRAIN_S)
    for node in world.nodes:
        node.end(signal.SIGTERM)
    for node in world.nodes:
        sent = node.send(node.copy_spool(world.folder / f"rest-{node.name}"), world.folder / f"rest-{node.name}.log")
        assert sent.process.wait(_DRAIN_S) == 0, sent.log
        assert json.loads(sent.log.strip().splitlines()[-1])["drained"], sent.log
    for collector in world.collectors:
        collector.end(signal.SIGTERM)
    engine = open_database(url)
    settle(engine, ZoneInfo("UTC"))
    verdict = judge(engine, allowed)
    engine.dispose()
    return verdict


def report(outcome: Outcome) -> str:
    """The outcome in lines for people."""
    verdict = outcome.verdict
    kinds = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(outcome.faults.items()))
    lines = [
        f"seed {outcome.seed}: {outcome.faults.total()} faults ({kinds})",
        f"{verdict.windows} device windows, {verdict.counted_us} us counted, {verdict.unobserved_us} us unobserved",
        f"{verdict.lost_us} us lost",
        *verdict.wrong,
        "the ledger is the truth" if not verdict.wrong else "THE LEDGER IS WRONG",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Soak from the command line; 0 where the ledger is the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long parts are broken (default: 2)")
    parser.add_argument("--seed", type=int, default=None, help="the same faults again (default: another each time)")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    outcome = soak(given.minutes, seed, lambda text: print(text, flush=True))
    print(report(outcome))
    return 1 if outcome.verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
