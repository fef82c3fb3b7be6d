"""The parts that the settings ask for: what follows the cluster, and the rules by which pods are workloads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from gputally.collector.cluster.history import ClusterHistory
from gputally.collector.cluster.kube import open_api
from gputally.collector.cluster.kube_pods import open_owners, open_plurals, open_watched
from gputally.collector.cluster.owners import Owners, Plurals
from gputally.collector.cluster.place import KubePlace, kube_place
from gputally.collector.cluster.pod import WatchedPod
from gputally.collector.cluster.pod_history import PodHistory
from gputally.collector.cluster.watch import QUEUED, ClusterWatch, ObjectKind
from gputally.collector.files.yaml_file import FileMistakes
from gputally.collector.queues.history import QueueHistory
from gputally.collector.queues.kube_queues import open_queues
from gputally.collector.queues.quota import SeenLocalQueue, SeenQueue
from gputally.collector.settings import CollectorSettings, SettingsError
from gputally.collector.workloads.parse import shipped_book
from gputally.collector.workloads.rule_book import RuleBook

Clock = Callable[[], int]


def rules_of(settings: CollectorSettings) -> RuleBook:
    """The rules, those of --workload-rules-file among them; raises SettingsError with every mistake there."""
    file = settings.workload_rules_file
    if file is None:
        return shipped_book()
    try:
        return shipped_book(file.read_bytes())
    except OSError as error:
        raise SettingsError([f"--workload-rules-file: {error}"]) from error
    except FileMistakes as error:
        raise SettingsError([f"{file}, line {one.line}: {one.text}" for one in error.mistakes]) from error


def watches_of(
    settings: CollectorSettings,
    rules: RuleBook,
    engine: Engine,
    environ: Mapping[str, str],
    now_us: Clock,
    monotonic_us: Clock,
) -> Sequence[ClusterWatch[Any]]:
    """What follows the cluster that --cluster names; nothing where no API is known for it."""
    place = kube_place(settings, environ) if settings.cluster else None
    if place is None or settings.cluster is None:
        return ()
    labels = ClusterWatch(open_api(place), ClusterHistory(engine, settings.cluster, settings.zone, now_us))
    if not settings.workloads:
        return (labels,)
    pods = _pods(place, settings.cluster, rules, engine, now_us, monotonic_us)
    return labels, pods, _queues(place, settings.cluster, engine, now_us)


def _pods(
    place: KubePlace, cluster: str, rules: RuleBook, engine: Engine, now_us: Clock, monotonic_us: Clock
) -> ClusterWatch[WatchedPod]:
    owners = Owners(open_owners(place, rules.wanted, Plurals(open_plurals(place), monotonic_us)), monotonic_us)
    history = PodHistory(engine, cluster, rules, owners, now_us, monotonic_us)
    api = open_watched(place, rules.wanted, history.keep)
    return ClusterWatch(api, history, kinds=[ObjectKind.POD], optional=True)


def _queues(place: KubePlace, cluster: str, engine: Engine, now_us: Clock) -> ClusterWatch[SeenQueue | SeenLocalQueue]:
    return ClusterWatch(open_queues(place), QueueHistory(engine, cluster, now_us), kinds=QUEUED, optional=True)
