"""Whose work the parts of devices are at this moment."""

from itertools import product

from sqlalchemy import Engine
from tests.statements import LATER_US, book
from tests.watched_pods import failed, learn
from tests.windows import MINUTE_US, START_US, device, pod, reserved, window

from gputally.collector.allocation.query import WHOLE
from gputally.collector.database.engine import reading
from gputally.collector.now.latest import read_latest
from gputally.collector.now.whose import Holder, label_of, read_ended, read_labels


def test_a_pod_has_the_workload_that_was_learnt_of_it_in_its_cluster(engine: Engine) -> None:
    """Two clusters may have a UID in common, as after a restore; of the third nothing was learnt."""
    held = [device(reserved(pod("search", "train-0"), 0, MINUTE_US))]
    book(engine, [window(*held, cluster=cluster, node=node) for cluster, node in product(("a", "b", "c"), ("1", "2"))])
    for cluster in ("a", "b"):
        learn(engine, "train-0", f"Job/of-{cluster}", cluster=cluster)
    with reading(engine) as connection:
        found = read_latest(connection, START_US + MINUTE_US, WHOLE)
        labels = read_labels(connection, found)
    works = {one.cluster: label_of(one, labels) for one in found}
    assert works == {"a": "job/of-a", "b": "job/of-b", "c": "pod/train-0"}


def test_a_pod_that_the_api_saw_end_is_not_a_holder_any_more(engine: Engine) -> None:
    """The newest window of a node that fell silent still has it."""
    ended, lives = (pod("search", name) for name in ("ended-0", "lives-0"))
    parts = [device(reserved(one, 0, MINUTE_US), uuid=f"GPU-{at}") for at, one in enumerate((ended, lives))]
    book(engine, [window(*parts, cluster="a")])
    learn(engine, "ended-0", "Job/ended", cluster="a", status=failed())
    learn(engine, "lives-0", "Job/lives", cluster="a")
    with reading(engine) as connection:
        found = read_latest(connection, START_US + MINUTE_US, WHOLE)
        gone = read_ended(connection, found, LATER_US)
        assert read_ended(connection, found, 0) == frozenset()
    assert {one.pod for one in found if Holder.of(one.part) in gone} == {"ended-0"}
