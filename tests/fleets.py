"""A fleet of which everything is known, and the file that says how it reads: `python -m tests.fleets` writes it."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from tests.windows import MODEL

from gputally.collector.allocation.period import Period
from gputally.collector.budgets import Budget, Scope, Unit
from gputally.collector.burn import Burn, Forecast
from gputally.collector.exposition.books import Books, Gaps, LastWindow, Total
from gputally.collector.exposition.itself import Work
from gputally.collector.exposition.page import make_registry
from gputally.collector.ingest.spool_reports import Spools
from gputally.collector.ingest.stream import IngestStats
from gputally.collector.ingest.writer import WriterStats
from gputally.collector.ledger.retention import Removed
from gputally.collector.month import Coverage, Month, Usage
from gputally.collector.notify.stats import NotifyStats
from gputally.collector.queues.quota import Quota
from gputally.collector.queues.quota_time import Held, QueueKey
from gputally.collector.queues.use import QueueUse
from gputally.collector.rates.cost import SCALE
from gputally.collector.waste.kind import Kind
from gputally.collector.waste.read import Wasted, WasteRow
from gputally.proto.certificate import Validity

GOLDEN = Path(__file__).parent / "data" / "exposition" / "collector.prom"
JULY_US = 1_782_864_000_000_000

SEARCH = Total("east", "pod", "search", MODEL, (3_000_001, 2, 0, 0, 7), 1_234)
NOBODY = Total("east", "platform", "", MODEL, (0, 0, 5_000_000, 1, 0), None)
WRITER = WriterStats(accepted=5, refused={"clock": 1}, commit_seconds=0.5, conservation_error_us=3)
WORK = Work(
    IngestStats(streams=2, batches=3, windows=6, skewed=1),
    WRITER,
    settled=4,
    removed=Removed(1, 2, 3),
    told=NotifyStats(5, {"busy": 1}, {"digest": 12}),
    tasks={"settler": "", "pods": "the cluster's pods cannot be followed: away"},
    certificate=Validity(1_780_000_000, 1_790_000_000),
)
BOOKS = Books(
    (SEARCH, NOBODY),
    1,
    (Gaps("east", MODEL, 60_000_000),),
    1,
    200,
    (Spools("east", 4, 90_000_000, 5, JULY_US),),
    (LastWindow("east", "node-a", JULY_US),),
)
BUDGET = Budget(Scope.TEAM, "engines", None, Unit.GPU_HOURS, 10**9, (2026, 7), None, 3)
MONTH = Month(
    JULY_US,
    JULY_US + 1_000_000,
    "EUR",
    (
        Usage("east", "pod", "search", MODEL, {"used": 3 * SCALE, "idle": SCALE // 2, "energy": SCALE // 4}, 7_000_000),
        Usage("east", "platform", "", MODEL, {"unallocated": SCALE}, 0),
    ),
    (Coverage("east", 4, 1),),
    (Burn(BUDGET, SCALE, SCALE // 2, Forecast(SCALE, SCALE // 2, 2 * SCALE), 3, 0),),
    (
        QueueUse(QueueKey("east", "", ""), used_us=1_000_000),
        QueueUse(
            QueueKey("east", "kueue", "gpus"),
            used_us=5_000_000,
            idle_us=1_000_000,
            whole_us=6_000_000,
            quota_us=4_000_000,
            borrowed_us=2_000_000,
            quotas=(Held(0, None, None, Quota("nvidia.com/gpu", "h100", 8)), Held(0, None, None, Quota("other"))),
        ),
    ),
    (WasteRow(Period(JULY_US, JULY_US + 1), ("east", "search"), dict.fromkeys(Kind, Wasted(2_000_000, 0, SCALE, 0))),),
)


def full() -> CollectorRegistry:
    """The registry of a collector of that fleet."""
    return make_registry(lambda: BOOKS, lambda: WORK, lambda: MONTH)


def golden() -> bytes:
    """What the file must hold."""
    return generate_latest(full())


if __name__ == "__main__":
    GOLDEN.write_bytes(golden())
