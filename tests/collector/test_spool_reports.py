"""What a spool refused is known to the collector: time that never arrives must not vanish quietly."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from sqlalchemy import Engine
from tests.windows import START_US, minutes, received

from gputally.accounting.line import Window
from gputally.collector.database.engine import reading
from gputally.collector.ingest.admission import SpoolState
from gputally.collector.ingest.commit import Committer
from gputally.collector.ingest.spool_reports import Spools, read_spools, spool_metrics
from gputally.collector.ingest.stream import spool_state
from gputally.proto import telemetry_pb2 as pb

UTC_NOW_US = START_US + 3_600_000_000


def commit(engine: Engine, *said: tuple[Window, SpoolState | None, int]) -> None:
    group = [replace(received(content), spool=spool, received_us=at_us) for content, spool, at_us in said]
    Committer(engine, ZoneInfo("UTC"), None).commit(group, UTC_NOW_US)


def spools(engine: Engine) -> list[Spools]:
    with reading(engine) as connection:
        return read_spools(connection)


def test_the_newest_word_of_each_spool_counts(engine: Engine) -> None:
    """Whatever order batches are committed in: a spool's figures only grow."""
    first, second, third = minutes(3)
    commit(engine, (first, SpoolState(0, 0, 5, START_US), 10), (second, SpoolState(2, 120, 1, START_US + 5), 30))
    assert spools(engine) == [Spools("east", 2, 120, 1, START_US + 5)]
    commit(engine, (third, SpoolState(1, 60, 9, START_US), 20))
    assert spools(engine) == [Spools("east", 2, 120, 1, START_US + 5)]


def test_spools_are_summed_by_cluster(engine: Engine) -> None:
    [one], [other] = minutes(1, node="node-a"), minutes(1, node="node-b")
    west = replace(one, cluster="west")
    commit(
        engine,
        (one, SpoolState(2, 120, 3, START_US + 60), 10),
        (other, SpoolState(1, 60, 0, 0), 10),
        (west, SpoolState(0, 0, 0, 0), 10),
    )
    assert spools(engine) == [Spools("east", 3, 180, 3, START_US + 60), Spools("west", 0, 0, 0, None)]


def test_a_batch_that_says_nothing_changes_nothing(engine: Engine) -> None:
    first, second = minutes(2)
    commit(engine, (first, SpoolState(4, 240, 0, 0), 10), (second, None, 20))
    assert spools(engine) == [Spools("east", 4, 240, 0, None)]


def test_a_batch_without_a_word_of_its_spool_and_one_with_nonsense_say_nothing() -> None:
    """An older agent sends none; a number that no column can hold is no reason to lose the windows."""
    assert spool_state(pb.Batch()) is None
    assert spool_state(pb.Batch(spool=pb.SpoolReport(refused_windows=2**64 - 1))) is None
    assert spool_state(pb.Batch(spool=pb.SpoolReport(oldest_us=-1))) is None
    assert spool_state(pb.Batch(spool=pb.SpoolReport(refused_us=7))) == SpoolState(0, 7, 0, 0)


def test_metrics_say_how_much_is_missing_and_how_old_what_waits_is() -> None:
    class Shown:
        def collect(self) -> list[Metric]:
            return list(spool_metrics([Spools("east", 3, 1_500_000, 2, 60_000_000), Spools("west", 0, 0, 0, None)]))

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Shown())  # type: ignore[arg-type]  # it has what is called
    text = generate_latest(registry).decode()
    assert 'gputally_agent_spool_refused_windows_total{cluster="east"} 3.0' in text
    assert 'gputally_agent_spool_refused_gpu_seconds_total{cluster="east"} 1.5' in text
    assert 'gputally_agent_spool_oldest_timestamp_seconds{cluster="east"} 60.0' in text
    assert 'oldest_timestamp_seconds{cluster="west"}' not in text
