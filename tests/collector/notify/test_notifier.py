"""From windows to a real receiver: what is told, once, by whom, and what happens where telling fails."""

import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from tests.collector.notify.receiver import SECRET, Reply, WebhookReceiver
from tests.collector.notify.stage import MINUTE_US, RESEARCH, START_US, Stage, busy, free, idle
from tests.databases import empty
from tests.windows import device, pod, reserved

from gputally.collector.database.deadline import TooSlow
from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema_notify import notification, told_spell
from gputally.collector.files.applied import Kind, apply_file
from gputally.collector.notify import queue
from gputally.collector.notify.idle_pod import PodKey
from gputally.collector.notify.look import Look, Looked
from gputally.collector.notify.message import Event, Level, Message
from gputally.collector.notify.notifier import PER_HOUR, Notifier
from gputally.collector.notify.turns import HELD_US, Turn

EngineOf = Callable[[str], Engine]


@pytest.fixture(scope="module")
def engine_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineOf]:
    """One database of each kind for all of these tests, made when it is needed."""
    engines: dict[str, Engine] = {}

    def engine_of(kind: str) -> Engine:
        if kind not in engines:
            path = tmp_path_factory.mktemp("notify") / "gputally.sqlite"
            if kind == "sqlite":
                shutil.copyfile(request.getfixturevalue("migrated_file"), path)
                engines[kind] = open_database(f"sqlite:///{path}")
            else:
                engines[kind] = open_database(request.getfixturevalue("postgres_server").create(migrated=True))
        return engines[kind]

    yield engine_of
    for engine in engines.values():
        engine.dispose()


@pytest.fixture
def stage(engine_of: EngineOf, url_file: Path) -> Iterator[Stage]:
    """An empty ledger: for rules that no database has a part in."""
    found = Stage(engine_of("sqlite"), url_file)
    yield found
    empty(found.engine)


@pytest.fixture(params=["sqlite", "postgresql"])
def each(request: pytest.FixtureRequest, engine_of: EngineOf, url_file: Path) -> Iterator[Stage]:
    """The same on both kinds of database."""
    found = Stage(engine_of(request.param), url_file)
    yield found
    empty(found.engine)


class SlowLook(Look):
    """A look that the database gives up."""

    def look(self, holder: str, turn: Turn, now_us: int) -> Looked:
        raise TooSlow("the database took longer than 30 s")


def fill(stage: Stage, count: int, level: Level = Level.WARNING, named: str = "pod") -> None:
    """So many messages wait."""
    with writing(stage.engine) as connection:
        for at in range(count):
            title = f"{named} {at} is idle"
            queue.put(connection, Message(Event.IDLE_SPELL, title, level, stage.now_us() + at, title))


def test_a_spell_is_told_at_half_an_hour_at_two_hours_and_at_its_end(each: Stage, receiver: WebhookReceiver) -> None:
    """Eight GPUs of a pod are one message each time, and the end has the sum: 8 x 2 h 10 min at 3.60."""
    each.price()
    replica = each.replica()
    each.play(20, busy(8))
    each.play(29, idle(8))
    each.turns(replica)
    assert receiver.titles == []
    for minutes in (1, 5, 85, 10):
        each.play(minutes, idle(8))
        each.turns(replica)
    each.play(1, busy(8))
    each.turns(replica)
    assert list(zip(receiver.levels, receiver.titles, strict=True)) == [
        ("warning", "research/pretrain-0 has not used 8 of its 8 GPUs for 30 min"),
        ("critical", "research/pretrain-0 has not used 8 of its 8 GPUs for 2 h"),
        ("resolved", "research/pretrain-0 uses its GPUs again; it was idle for 2 h 10 min"),
    ]
    last = receiver.bodies[-1]
    assert last["details"]["cost"] == {"amount": "62.40", "currency": "EUR"}
    assert last["details"]["idle_gpu_seconds"] == 8 * 130 * 60
    assert last["link"] == "https://gpu.example.com/idle?namespace=research"
    assert {body["subject"] for body in receiver.bodies} == {"idle-spell east/research/pretrain-0"}
    assert replica.stats().sent == 3
    with reading(each.engine) as connection:
        assert connection.execute(select(func.count()).select_from(told_spell)).scalar_one() == 0


def test_what_loads_is_given_time(stage: Stage, receiver: WebhookReceiver) -> None:
    """A pod that has been idle since it got its GPUs is told of at 45 minutes, as the alert does; without a price."""
    stage.play(10, free())
    stage.play(44, idle())
    stage.turns(stage.replica())
    assert receiver.titles == []
    stage.play(1, idle())
    stage.turns(stage.replica())
    assert receiver.titles == ["research/pretrain-0 has not used 2 of its 2 GPUs for 45 min"]
    assert receiver.bodies[0]["details"]["cost"] is None
    assert "not priced" in receiver.bodies[0]["text"]


def test_of_gpus_that_were_held_for_long_a_part_is_granted(each: Stage, receiver: WebhookReceiver) -> None:
    """Used for five minutes and idle since: held for 45 minutes after 40 of idleness."""
    each.play(5, busy())
    each.play(39, idle())
    each.turns(each.replica())
    assert receiver.titles == []
    each.play(1, idle())
    each.turns(each.replica())
    assert receiver.titles == ["research/pretrain-0 has not used 2 of its 2 GPUs for 40 min"]


def test_a_partition_is_as_idle_as_the_busiest_of_its_containers(stage: Stage, receiver: WebhookReceiver) -> None:
    """And a GPU that is used is not among the idle ones of its pod."""
    side = pod("research", "pretrain-0", "side")
    half = MINUTE_US // 2
    stage.play(
        50,
        lambda _: [
            device(reserved(RESEARCH, 0, half), reserved(side, half, 0), uuid="GPU-0"),
            device(reserved(RESEARCH, 0, half), reserved(side, 0, half), uuid="GPU-1"),
            device(reserved(RESEARCH, MINUTE_US, 0), uuid="GPU-2"),
        ],
    )
    stage.turns(stage.replica())
    assert receiver.titles == ["research/pretrain-0 has not used 1 of its 3 GPUs for 50 min"]


def test_a_silent_node_is_not_known_and_not_in_use(stage: Stage, receiver: WebhookReceiver) -> None:
    stage.play(50, idle())
    stage.turns(stage.replica())
    stage.pass_by(10)
    stage.turns(stage.replica())
    assert receiver.levels == ["warning"], "the collector may have been away"
    stage.pass_by(15)
    stage.turns(stage.replica())
    assert receiver.levels == ["warning", "resolved"]
    assert receiver.bodies[1]["details"]["ended_by"] == "unseen"


def test_a_pod_that_released_its_gpus_has(stage: Stage, receiver: WebhookReceiver) -> None:
    stage.play(50, idle())
    stage.turns(stage.replica())
    stage.play(1, free())
    stage.turns(stage.replica())
    assert receiver.bodies[1]["details"]["ended_by"] == "released"


def test_a_pod_that_asks_for_it_is_left_in_peace(stage: Stage, receiver: WebhookReceiver) -> None:
    stage.exempt = [PodKey("east", "research", "pretrain-0")]
    stage.play(200, idle())
    stage.turns(stage.replica())
    assert receiver.titles == []


def test_a_restart_repeats_nothing(stage: Stage, receiver: WebhookReceiver) -> None:
    stage.play(50, idle())
    stage.turns(stage.replica("one"))
    for name in ("two", "three"):
        stage.play(5, idle())
        stage.turns(stage.replica(name))
    assert receiver.levels == ["warning"]


def test_of_two_replicas_one_tells_and_the_other_takes_over(each: Stage, receiver: WebhookReceiver) -> None:
    one, two = each.replica("one"), each.replica("two")
    each.play(50, idle())
    each.turns(one, two, one, two)
    assert (receiver.levels, one.stats().sent, two.stats().sent) == (["warning"], 1, 0)
    each.play(1, busy())
    each.turns(two)
    assert receiver.levels == ["warning"], "the turn is still the other's"
    each.later_us = HELD_US
    each.turns(two)
    assert (receiver.levels, two.stats().sent) == (["warning", "resolved"], 1)


def test_replicas_that_turn_at_once_tell_once(each: Stage, receiver: WebhookReceiver) -> None:
    replicas = [each.replica(name) for name in ("one", "two", "three")]
    each.play(50, idle())
    with ThreadPoolExecutor(len(replicas)) as threads:
        for _ in range(3):
            list(threads.map(Notifier.turn, replicas))
    assert receiver.levels == ["warning"]
    assert sum(replica.stats().sent for replica in replicas) == 1


def test_a_replica_that_ends_lets_the_other_go_on_at_once(stage: Stage, receiver: WebhookReceiver) -> None:
    one, two = stage.replica("one"), stage.replica("two")
    stage.play(50, idle())
    stage.turns(one)
    one.start()
    one.close(60)
    stage.play(1, busy())
    stage.turns(two)
    assert receiver.levels == ["warning", "resolved"]


def test_a_receiver_that_fails_is_asked_again_later(
    stage: Stage, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.replies = [Reply(500), Reply(503)]
    replica = stage.replica()
    fill(stage, 1)
    stage.turns(replica)
    stage.turns(replica)
    assert len(receiver.paths) == 1, "it waits"
    for minutes in (1, 1):
        stage.pass_by(minutes)
        stage.turns(replica)
    assert (receiver.titles, len(receiver.paths)) == (["pod 0 is idle"], 3)
    assert replica.stats().failed == {"broken": 2}
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the webhook takes no message, trying again in 15 s: HTTP 500 Internal Server Error",
        "the webhook takes no message, trying again in 30 s: HTTP 503 Service Unavailable",
    ]


def test_a_receiver_that_asks_for_time_gets_it_from_every_replica(each: Stage, receiver: WebhookReceiver) -> None:
    receiver.replies = [Reply(429, {"Retry-After": "600"})]
    fill(each, 1)
    each.turns(each.replica("one"))
    each.pass_by(9)
    each.turns(each.replica("two"))
    assert len(receiver.paths) == 1
    each.pass_by(2)
    each.turns(each.replica("two"))
    assert receiver.titles == ["pod 0 is idle"]


def test_a_message_that_is_refused_is_dropped_and_the_next_goes(
    stage: Stage, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.replies = [Reply(400, body=f"bad {SECRET}")]
    replica = stage.replica()
    fill(stage, 2)
    stage.turns(replica)
    assert receiver.titles == ["pod 1 is idle"]
    assert (replica.stats().sent, replica.stats().failed) == (1, {"message": 1})
    assert "refuses a message for good (pod 0 is idle): HTTP 400 Bad Request" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("reply", [Reply(302, {"Location": "http://127.0.0.1:9/elsewhere"}), Reply(410)])
def test_an_address_that_is_not_good_keeps_the_message(stage: Stage, receiver: WebhookReceiver, reply: Reply) -> None:
    """Somebody mends the file, and what waited is told."""
    receiver.replies = [reply]
    replica = stage.replica()
    fill(stage, 1)
    stage.turns(replica)
    assert receiver.titles == []
    stage.pass_by(1)
    stage.turns(replica)
    assert receiver.titles == ["pod 0 is idle"]


def test_more_than_people_read_is_told_in_one(each: Stage, receiver: WebhookReceiver) -> None:
    """The most urgent on their own, the rest in the last of the hour, and more only when an hour has passed."""
    replica = each.replica()
    fill(each, 30)
    fill(each, 2, Level.CRITICAL, "urgent pod")
    each.turns(replica)
    assert len(receiver.titles) == PER_HOUR
    assert receiver.titles[:2] == ["urgent pod 0 is idle", "urgent pod 1 is idle"]
    assert receiver.titles[-1] == "13 more messages than may be sent in an hour: 13 warning"
    assert replica.stats().suppressed["digest"] == 13
    fill(each, 3, named="later pod")
    each.pass_by(30)
    each.turns(replica)
    assert len(receiver.titles) == PER_HOUR
    each.pass_by(31)
    each.turns(replica)
    assert receiver.titles[PER_HOUR:] == [f"later pod {at} is idle" for at in range(3)]


def test_a_newer_message_replaces_the_one_that_waits(each: Stage, receiver: WebhookReceiver) -> None:
    """The receiver was away while the spell began and ended."""
    receiver.replies = [Reply(500)]
    replica = each.replica()
    each.play(50, idle())
    each.turns(replica)
    each.play(1, busy())
    each.turns(replica)
    assert receiver.levels == ["resolved"]
    assert replica.stats().suppressed["superseded"] == 1


def test_a_queue_without_room_counts_what_it_leaves_out(each: Stage) -> None:
    with writing(each.engine) as connection:
        kept = [
            queue.put(connection, Message(Event.IDLE_SPELL, f"pod {at}", Level.WARNING, at, "t"), room=2)
            for at in range(3)
        ]
        again = queue.put(connection, Message(Event.IDLE_SPELL, "pod 0", Level.CRITICAL, 9, "t"), room=2)
    assert kept == [(True, 0), (True, 0), (False, 0)]
    assert again == (True, 1)


def test_what_was_sent_by_a_clock_that_went_ahead_uses_up_no_later_hour(each: Stage, receiver: WebhookReceiver) -> None:
    """Else nobody is told anything before that time comes."""
    replica, ahead = each.replica(), 400 * 24 * 60
    each.pass_by(ahead)
    fill(each, PER_HOUR, named="early pod")
    each.turns(replica)
    each.pass_by(-ahead)
    fill(each, 1)
    each.turns(replica)
    assert receiver.titles[PER_HOUR:] == ["pod 0 is idle"]
    with reading(each.engine) as connection:
        assert connection.execute(select(func.count()).select_from(notification)).scalar_one() == 1


def test_what_is_a_day_old_is_no_news(each: Stage, receiver: WebhookReceiver) -> None:
    replica = each.replica()
    fill(each, 1)
    each.turns(replica)
    fill(each, 2, named="old pod")
    each.pass_by(24 * 60 + 1)
    each.turns(replica)
    assert receiver.titles == ["pod 0 is idle"]
    assert replica.stats().suppressed["too-old"] == 2
    with reading(each.engine) as connection:
        assert connection.execute(select(func.count()).select_from(notification)).scalar_one() == 0


def test_a_budget_is_told_and_its_end_too(each: Stage, receiver: WebhookReceiver) -> None:
    """Two GPUs for an hour, against a budget of one GPU-hour; then it is raised."""
    budgets = b"version: 1\nbudgets: [{namespace: research, from: 2026-11, gpu_hours: %d}]\n"
    replica = each.replica()
    apply_file(each.engine, Kind.BUDGETS, budgets % 1, "ann", START_US)
    each.play(60, busy())
    each.turns(replica)
    each.play(20, busy())
    each.turns(replica)
    assert receiver.titles == ["The November 2026 budget of namespace research is exceeded"]
    assert receiver.bodies[0]["details"]["spent"] == "2.00"
    apply_file(each.engine, Kind.BUDGETS, budgets % 100_000, "ann", START_US)
    each.play(20, busy())
    each.turns(replica)
    assert receiver.levels == ["critical", "resolved"]


def test_a_look_that_fails_keeps_nothing_from_being_sent(
    stage: Stage, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    """A large fleet's look may take too long; it is not tried again before a minute has passed."""
    replica = stage.replica(looks=SlowLook)
    fill(stage, 2)
    stage.turns(replica)
    assert receiver.titles == ["pod 0 is idle", "pod 1 is idle"]
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lines == ["what there is to tell cannot be read, trying again: the database took longer than 30 s"]


def test_a_database_that_fails_is_told_and_tried_again(
    each: Stage, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    notification.drop(each.engine)
    assert not each.replica().turn()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith("messages that wait cannot be read, trying again: ")
    assert "\n" not in line
    notification.create(each.engine)
    fill(each, 1)
    each.turns(each.replica())
    assert receiver.titles == ["pod 0 is idle"]
