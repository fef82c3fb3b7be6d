"""The stream loses nothing and releases nothing early, whatever the collector does."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector_fake import DEADLINE_S, FakeCollector
from tests.proxy import Proxy
from tests.spools import Clock, open_spool, recent, sequences

from gputally.agent.backoff import Backoff
from gputally.agent.snapshot import StreamState
from gputally.agent.spool.spool import SpoolReport
from gputally.agent.stream import BACKLOG_WINDOWS, BATCH_WINDOWS, IN_FLIGHT_BATCHES, Stream, batch_message
from gputally.proto import telemetry_pb2 as pb


class Pauses:
    """The stream's pauses: they last until the test ends them, and remember how long they were meant to be."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []
        self._changed = threading.Condition()
        self._current: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def __call__(self, seconds: float) -> None:
        end = asyncio.Event()
        with self._changed:
            self.asked_s.append(seconds)
            self._current = (asyncio.get_running_loop(), end)
            self._changed.notify_all()
        await end.wait()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked_s) >= count, DEADLINE_S)

    def end(self) -> None:
        """End the pause that is on, and let the stream try again."""
        assert self._current
        loop, end = self._current
        loop.call_soon_threadsafe(end.set)


class World:
    """A spool, a collector, and streams between them."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.spool = open_spool(path, self.clock, max_bytes=1 << 26)
        self.collector = FakeCollector()
        self.pauses = Pauses()
        self.streams: list[Stream] = []

    def stream(self) -> Stream:
        stream = Stream(self.spool, self.collector.address, self.clock, lambda: 42, lambda: 0.5, self.pauses)
        self.streams.append(stream)
        stream.start()
        return stream

    def committed(self) -> list[int]:
        return sorted(sequence for _, sequence in self.collector.ledger.windows)

    def wait_until_released(self) -> None:
        wait_until(lambda: self.spool.pending()[0] == 0)

    def close(self) -> None:
        self.collector.read_on()
        for stream in self.streams:
            stream.close(0)
        self.collector.stop()
        self.spool.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does, with a deadline."""
    never = threading.Event()
    for _ in range(int(DEADLINE_S * 200)):
        if condition():
            return
        never.wait(0.005)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@given(st.integers(0, 1 << 50), st.lists(st.binary(max_size=300).map(lambda b: pb.Window(node=b.hex()))))
def test_a_batch_is_the_message_that_protobuf_would_write(sent_at_us: int, windows: list[pb.Window]) -> None:
    """Windows go on the wire byte for byte as they were spooled, so their hash is the same at every replay."""
    message = batch_message(sent_at_us, [window.SerializeToString(deterministic=True) for window in windows])
    assert message == pb.Batch(sent_at_us=sent_at_us, windows=windows).SerializeToString(deterministic=True)


def test_a_batch_tells_what_the_spool_refused_and_what_waits() -> None:
    """The collector has nobody else to learn it from. 0 on the wire: nothing waits."""
    batch = pb.Batch.FromString(batch_message(7, [b""], SpoolReport(3, 180_000_000, 5, 1_700_000_000_000_000)))
    assert (batch.spool.refused_windows, batch.spool.refused_us) == (3, 180_000_000)
    assert (batch.spool.waiting_windows, batch.spool.oldest_us) == (5, 1_700_000_000_000_000)
    assert len(batch.windows) == 1
    assert pb.Batch.FromString(batch_message(7, [], SpoolReport(0, 0, 0, None))).spool.oldest_us == 0


def test_windows_arrive_and_leave_the_spool_after_the_ack(world: World) -> None:
    """What waits when the stream starts is sent, then what is appended later."""
    world.collector.start()
    world.spool.append(recent(world.clock, 3))
    payloads = [payload for _, payload in world.spool.read(0, 1 << 20, 10)]
    stream = world.stream()
    world.wait_until_released()
    world.spool.append(recent(world.clock, 2))
    world.wait_until_released()
    assert world.committed() == [1, 2, 3, 4, 5]
    assert list(world.collector.ledger.windows.values())[:3] == payloads
    assert world.collector.ledger.batches[0].sent_at_us == world.clock.us
    expected = StreamState(
        running=True,
        connected=True,
        last_ack_us=42,
        last_ack_wall_us=world.clock.us,
        connections=1,
        batches_sent=2,
        windows_sent=5,
    )
    wait_until(lambda: stream.state == expected)  # the release comes a moment before the counts


@pytest.mark.parametrize("windows", [BACKLOG_WINDOWS, 20 * BACKLOG_WINDOWS])
def test_what_waited_for_long_goes_compressed_and_what_is_new_does_not(world: World, windows: int) -> None:
    """Windows of one node are much alike; a single one is not worth the collector's time."""
    world.collector.start()
    world.spool.append(recent(world.clock, windows))
    size = world.spool.pending()[1]
    with Proxy(("127.0.0.1", world.collector.port)) as proxy:
        stream = Stream(world.spool, f"127.0.0.1:{proxy.port}", world.clock, lambda: 42, lambda: 0.5, world.pauses)
        world.streams.append(stream)
        stream.start()
        world.wait_until_released()
        stream.close(DEADLINE_S)
        assert (proxy.sent < size / 2) == (windows > BACKLOG_WINDOWS)
    assert world.committed() == list(range(1, windows + 1))


def test_many_windows_go_in_few_batches(world: World) -> None:
    """Messages cost, not windows."""
    world.collector.start()
    world.spool.append(recent(world.clock, 2 * BATCH_WINDOWS + 1))
    world.stream()
    world.wait_until_released()
    assert [len(batch.windows) for batch in world.collector.ledger.batches] == [BATCH_WINDOWS, BATCH_WINDOWS, 1]


def test_nothing_is_released_without_an_ack(world: World) -> None:
    """The collector died between commit and ack: the same windows come again, and count once."""
    world.collector.start()
    world.collector.die_before_ack = 1
    world.spool.append(recent(world.clock, 4))
    stream = world.stream()
    world.pauses.wait_for(1)
    assert sequences(world.spool) == [1, 2, 3, 4]
    assert world.committed() == [1, 2, 3, 4]
    assert "died between commit and ack" in stream.state.error
    assert not stream.state.connected
    world.pauses.end()
    world.wait_until_released()
    ledger = world.collector.ledger
    assert (world.committed(), ledger.duplicates, ledger.contradictions) == ([1, 2, 3, 4], 4, 0)
    wait_until(lambda: stream.state.error == "")


def test_a_collector_that_comes_later_gets_everything(world: World) -> None:
    """Waits grow while nobody answers, and begin anew after an ack."""
    world.collector.start()
    world.collector.stop()
    world.spool.append(recent(world.clock, 2))
    stream = world.stream()
    for count in (1, 2, 3):
        world.pauses.wait_for(count)
        assert "UNAVAILABLE" in stream.state.error
        assert stream.state.connections == 0
        if count < 3:
            world.pauses.end()
    world.collector.start()
    world.pauses.end()
    world.wait_until_released()
    assert world.committed() == [1, 2]
    world.collector.stop()
    world.pauses.wait_for(4)
    assert world.pauses.asked_s == [0.25, 0.5, 1.0, 0.25]


def test_a_restarted_collector_and_new_windows_meanwhile_lose_nothing(world: World) -> None:
    """Windows of the outage arrive after it, in order, beside those of before."""
    world.collector.start()
    world.stream()
    world.spool.append(recent(world.clock, 2))
    world.wait_until_released()
    world.collector.stop()
    world.pauses.wait_for(1)
    world.spool.append(recent(world.clock, 3))
    world.collector.start()
    world.pauses.end()
    world.wait_until_released()
    assert world.committed() == [1, 2, 3, 4, 5]
    assert world.collector.ledger.duplicates == 0


def test_refusals_are_counted_by_reason_and_released(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is for good: sending it again would not help; the log says what is wrong, once an ack."""
    reasons = {1: pb.Refusal.REFUSAL_CLOCK, 2: pb.Refusal.REFUSAL_TOO_OLD, 3: pb.Refusal.REFUSAL_CLOCK, 4: 77}

    def refuse(window: pb.Window) -> pb.Refusal | None:
        reason = reasons.get(window.sequence)
        return pb.Refusal(sequence=window.sequence, reason=reason, detail="set the clock") if reason else None

    world.collector.refuse = refuse
    world.collector.start()
    world.spool.append(recent(world.clock, 5))
    stream = world.stream()
    world.wait_until_released()
    wait_until(lambda: bool(stream.state.refusals))
    assert stream.state.refusals == {"clock": 2, "too-old": 1, "unknown": 1}
    assert world.committed() == [5]
    assert [record.message for record in caplog.records if "refused 2 windows" in record.message] == [
        "stream: the collector refused 2 windows for good (clock): set the clock"
    ]


def test_an_ack_for_what_was_never_sent_releases_nothing_more(world: World) -> None:
    """A collector that errs must not delete windows that nobody has."""
    world.collector.ack_beyond = 1000
    world.collector.start()
    stream = world.stream()
    world.spool.append(recent(world.clock, 1))
    world.wait_until_released()
    assert stream.close(DEADLINE_S)
    assert world.spool.append(recent(world.clock, 1)) == [2]
    assert sequences(world.spool) == [2]


def test_a_collector_that_stops_reading_bounds_what_is_in_flight(world: World) -> None:
    """Unacknowledged batches are few; the rest waits on the disk."""
    world.collector.start()
    world.collector.stop_reading()
    world.spool.append(recent(world.clock, (IN_FLIGHT_BATCHES + 4) * BATCH_WINDOWS))
    stream = world.stream()
    world.collector.wait_for(lambda: world.collector.streams == 1)
    wait_until(lambda: stream.state.batches_sent > 0)
    assert stream.state.batches_sent <= IN_FLIGHT_BATCHES
    world.collector.read_on()
    world.wait_until_released()
    assert len(world.committed()) == (IN_FLIGHT_BATCHES + 4) * BATCH_WINDOWS
    wait_until(lambda: stream.state.batches_sent == IN_FLIGHT_BATCHES + 4)


def test_closing_sends_what_is_left_first(world: World) -> None:
    """A SIGTERM loses no window while the collector is there."""
    world.collector.start()
    world.collector.stop_reading()
    stream = world.stream()
    world.spool.append(recent(world.clock, 3))
    closing = threading.Thread(target=stream.close, args=(DEADLINE_S,))
    closing.start()
    world.collector.read_on()
    closing.join()
    assert world.committed() == [1, 2, 3]
    assert world.spool.pending()[0] == 0
    assert (stream.state.running, stream.state.connected, stream.state.error) == (False, False, "")
    assert stream.close(DEADLINE_S)


def test_closing_while_the_collector_is_away_tries_once_more_and_keeps_the_rest(world: World) -> None:
    """After the deadline the windows are still on the disk, and the thread has ended."""
    world.collector.start()
    world.collector.stop()
    world.spool.append(recent(world.clock, 3))
    stream = world.stream()
    world.pauses.wait_for(1)
    assert not stream.close(4.0)
    assert len(world.pauses.asked_s) == 2
    assert not stream.state.running
    assert sequences(world.spool) == [1, 2, 3]


def test_closing_in_the_middle_of_an_outage_needs_no_pause_when_the_collector_is_back(world: World) -> None:
    """The wait for the next try is cut short by the end."""
    world.collector.start()
    world.collector.stop()
    world.spool.append(recent(world.clock, 3))
    stream = world.stream()
    world.pauses.wait_for(1)
    world.collector.start()
    assert stream.close(DEADLINE_S)
    assert world.committed() == [1, 2, 3]


def test_closing_with_nothing_to_send_needs_no_collector(world: World) -> None:
    """An agent with an empty spool goes at once."""
    world.collector.start()
    world.collector.stop()
    stream = world.stream()
    world.pauses.wait_for(1)
    assert stream.close(DEADLINE_S)


def test_what_was_never_started_closes(world: World) -> None:
    """main may close whatever it built."""
    assert not Stream(world.spool, "127.0.0.1:1", world.clock, lambda: 0, lambda: 0.5).close(1)


def test_appending_after_the_end_wakes_nobody(world: World) -> None:
    """The last window may be cut after the stream gave up; it waits for the next start."""
    world.collector.start()
    assert world.stream().close(DEADLINE_S)
    assert world.spool.append(recent(world.clock)) == [1]
    world.stream()
    world.wait_until_released()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_ends_the_stream_visibly(world: World) -> None:
    """A thread that died must not look like a collector that is away."""
    world.collector.start()
    stream = world.stream()
    wait_until(lambda: stream.state.connected)
    world.spool.append(recent(world.clock))
    world.wait_until_released()
    world.spool.close()
    stream.close(DEADLINE_S)
    assert not stream.state.running
    assert "is closed" in stream.state.error


@given(failures=st.integers(0, 200), random=st.floats(0, 1, exclude_max=True))
def test_backoff_is_jittered_below_a_doubling_ceiling(failures: int, random: float) -> None:
    """0 <= wait <= min(cap, base x 2^n): a fleet spreads over the whole interval, and the cap holds."""
    backoff = Backoff(lambda: random)
    waits = [backoff.next_s() for _ in range(failures + 1)]
    assert waits[-1] == random * min(60.0, 0.5 * 2.0**failures)
    backoff.reset()
    assert backoff.next_s() == random * 0.5
