"""A small fleet that wastes in every way there is: a gang with a straggler, a failed try, a notebook, a spare GPU."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from tests.idle_histories import BEGIN_US, BUSY, FULL, HOLDING, History, Minute, PodPart, node_windows
from tests.statements import LATER_US, apply
from tests.watched_pods import failed, learn
from tests.windows import all_received

from gputally.accounting.ledger_hour import HOUR_US
from gputally.collector.allocation.period import Period
from gputally.collector.ingest.commit import Committer
from gputally.collector.ledger.postings import settle

UTC = ZoneInfo("UTC")
DAY = Period(BEGIN_US, BEGIN_US + 24 * HOUR_US)


def minutes(*runs: tuple[int, Minute]) -> dict[int, Minute]:
    """Minutes that follow each other, in runs that are alike."""
    found: list[Minute] = []
    for length, minute in runs:
        found += [minute] * length
    return dict(enumerate(found))


def one(*runs: tuple[int, Minute]) -> History:
    return {PodPart("main", "gpu-0"): minutes(*runs)}


# GPU-minutes count half, because each part is half of a device.
PODS: dict[str, tuple[History, bool]] = {
    "train-0": (one((10, HOLDING), (50, FULL)), True),
    "train-1": (one((10, HOLDING), (50, BUSY)), True),
    "try-0": (one((20, FULL), (10, HOLDING)), True),
    "notebook-0": (one((10, FULL), (110, HOLDING)), False),
    "wide-0": ({**one((60, FULL)), PodPart("main", "gpu-1"): minutes((60, HOLDING))}, True),
}


def fill(engine: Engine, pods: Iterable[str] = tuple(PODS)) -> None:
    """Book them, each on a node of its own, with prices; what is known of the pods besides."""
    windows = [
        content
        for pod in pods
        for content in node_windows(PODS[pod][0], goes_on=PODS[pod][1], node=f"node-of-{pod}", pod=pod)
    ]
    Committer(engine, UTC, max_age_us=None).commit(all_received(windows), now_us=LATER_US)
    settle(engine, UTC)
    apply(engine)
    learn(engine, "train-0", "PyTorchJob.kubeflow/bert", rank=0)
    learn(engine, "train-1", "PyTorchJob.kubeflow/bert", rank=1)
    learn(engine, "try-0", "Job/try", status=failed())
    learn(engine, "notebook-0", "Notebook.kubeflow/anns")
