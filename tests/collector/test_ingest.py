"""The agents' door: an acknowledgement never runs ahead of a commit, and nothing that arrived is dropped."""

from dataclasses import replace

import grpc.aio
import pytest
from tests.collector.open_door import NOW_US, Agent, Door, messages, run
from tests.windows import minutes, window

from gputally.collector.auth.agent import Identity
from gputally.collector.ingest.admission import ACCEPTED, Outcome, Received, Refusal, RefusalReason, Verdict
from gputally.collector.ingest.arrivals import arrival
from gputally.collector.ingest.columns import Layouts, WindowColumns, read
from gputally.collector.ingest.stream import (
    FLAGGED_SKEW_US,
    MAX_MESSAGE_BYTES,
    REFUSED_SKEW_US,
    IngestStats,
    Skew,
    clock_refusal,
    farewell,
)
from gputally.proto import codec, telemetry_pb2_grpc
from gputally.proto import telemetry_pb2 as pb

CONFLICT = Outcome(Verdict.REFUSED, Refusal(RefusalReason.CONFLICT, "twice"))


# What a stream is told.


def test_nothing_is_acknowledged_before_its_commit() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(3)))
            await door.until(lambda: len(door.writer.queue) == 3)
            door.writer.commit(2)
            assert await agent.ack() == pb.Ack(committed_through=2)
            door.writer.commit()
            assert await agent.ack() == pb.Ack(committed_through=3)

    run(scenario)


def test_a_refused_window_is_acknowledged_with_its_reason() -> None:
    async def scenario(door: Door) -> None:
        door.writer.verdict = lambda received: CONFLICT if received.sequence == 2 else ACCEPTED
        async with door.agent() as agent:
            await agent.send(messages(minutes(3)))
            await door.until(lambda: len(door.writer.queue) == 3)
            door.writer.commit()
            refusal = pb.Refusal(sequence=2, reason=pb.Refusal.REFUSAL_CONFLICT, detail="twice")
            assert await agent.ack() == pb.Ack(committed_through=3, refusals=[refusal])

    run(scenario)


def test_the_writer_gets_the_bytes_that_the_agent_made() -> None:
    """The content hash is over them: a replay through another replica must give the same."""

    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages([window()]))
            await door.until(lambda: len(door.writer.queue) == 1)
            door.writer.commit()
            await agent.ack()

    (received,) = run(scenario).committed
    assert received.message == codec.encode(window(), "agent", "boot", 1)
    expected = read(messages([window()])[0])
    assert replace(received.window, layout=expected.layout) == expected
    assert (received.agent_id, received.boot_id, received.sequence) == ("agent", "boot", 1)
    assert (received.received_us, received.refusal) == (NOW_US, None)


def test_a_stream_that_its_agent_ends_is_answered_to_the_last_window() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(2)))
            await agent.call.done_writing()
            await door.until(lambda: len(door.writer.queue) == 2)
            door.writer.commit()
            assert await agent.ack() == pb.Ack(committed_through=2)
            assert await agent.ended()

    run(scenario)


def test_two_agents_are_told_of_their_own_windows_only() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as one, door.agent() as other:
            await one.send(messages(minutes(1)))
            await door.until(lambda: len(door.writer.queue) == 1)
            await other.send(messages(minutes(2, node="node-b"), first=70))
            await door.until(lambda: len(door.writer.queue) == 3)
            door.writer.commit()
            assert (await one.ack()).committed_through == 1
            assert (await other.ack()).committed_through == 71
            assert door.ingest.stats() == IngestStats(streams=2, batches=2, windows=3, skewed=0)

    run(scenario)


# A writer that is behind, and the end.


def test_a_full_writer_stops_the_reading_and_loses_nothing() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            for start in range(0, 6, 2):
                await agent.send(messages(minutes(2), first=start + 1))
            await door.until(lambda: len(door.writer.queue) == 1)
            assert door.ingest.stats().batches == 1
            for sequence in range(1, 7):
                await door.until(lambda: bool(door.writer.queue))
                door.writer.commit()
                assert (await agent.ack()).committed_through == sequence

    assert [received.sequence for received in run(scenario, size=1).committed] == [1, 2, 3, 4, 5, 6]


def test_a_small_message_that_unpacks_to_a_huge_one_is_not_unpacked() -> None:
    """The longest message that is read is measured after decompression: nobody takes our memory with a few bytes."""

    async def scenario(door: Door) -> None:
        async with grpc.aio.insecure_channel(door.target) as channel:
            stub = telemetry_pb2_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call]
            bomb = stub.Stream(compression=grpc.Compression.Gzip)
            await bomb.write(pb.Batch(windows=[pb.Window(node="0" * (2 * MAX_MESSAGE_BYTES))]))
            assert await bomb.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "ecompressed message larger" in str(await bomb.details())
            packed = Agent(stub.Stream(compression=grpc.Compression.Gzip))
            await packed.send(messages(minutes(50)))
            await door.until(lambda: len(door.writer.queue) == 50)
            door.writer.commit()
            assert await packed.ack() == pb.Ack(committed_through=50)

    assert len(run(scenario).committed) == 50


def test_draining_reads_no_more_and_answers_what_the_writer_has() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(3)))
            await door.until(lambda: len(door.writer.queue) == 2)
            door.ingest.drain()
            door.writer.commit()
            assert (await agent.ack()).committed_through == 2
            assert await agent.ended()
        async with door.agent() as late:
            code = await late.call.code()
            assert (code, await late.call.details()) == (grpc.StatusCode.UNAVAILABLE, "this collector is stopping")
            assert "gputally-now-us" not in dict(await late.call.trailing_metadata() or ())

    run(scenario, size=2)


def test_an_agent_is_told_our_clock_and_its_name_only_once_it_is_known() -> None:
    """What it asks by a stream without windows must not be answered by a collector that did not look."""

    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.call.done_writing()
            assert await agent.ended()
            assert ("gputally-now-us", str(NOW_US)) in tuple(await agent.call.trailing_metadata() or ())

    run(scenario)
    told = dict(farewell(Identity("prod", "knoten-ä"), NOW_US))
    assert told["gputally-cluster-bin"] == b"prod"
    assert told["gputally-node-bin"] == "knoten-ä".encode()


def test_an_agent_that_went_away_leaves_nothing_behind() -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(1)))
            await door.until(lambda: len(door.writer.queue) == 1)
            agent.call.cancel()
            await door.until(lambda: door.ingest.stats().streams == 0)
            door.writer.commit()

    assert len(run(scenario).committed) == 1


# What is wrong with a window, or with a clock.


def test_a_window_that_contradicts_itself_is_quarantined_not_dropped() -> None:
    (message,) = messages([window()])
    message.lines.device[:] = [7] * message.lines.count
    received = arrival(message, NOW_US).read()
    assert received.refusal is not None
    assert received.refusal.reason is RefusalReason.INVALID
    assert received.window.devices == ()
    assert (received.window.cluster, received.window.node) == ("east", "node-a")
    assert received.message == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize(("off_us", "skewed"), [(0, 0), (FLAGGED_SKEW_US + 1, 1), (-FLAGGED_SKEW_US - 1, 1)])
def test_a_clock_that_is_a_little_off_is_counted_and_its_windows_are_taken(off_us: int, skewed: int) -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(1)), sent_at_us=NOW_US - off_us)
            await door.until(lambda: len(door.writer.queue) == 1)
            assert door.ingest.stats().skewed == skewed
            door.writer.commit()
            assert not (await agent.ack()).refusals

    run(scenario)


@pytest.mark.parametrize("off_us", [REFUSED_SKEW_US + 1, -REFUSED_SKEW_US - 1])
def test_a_clock_that_is_far_off_is_refused_and_its_windows_are_kept(off_us: int) -> None:
    async def scenario(door: Door) -> None:
        async with door.agent() as agent:
            await agent.send(messages(minutes(2)), sent_at_us=NOW_US - off_us)
            await door.until(lambda: len(door.writer.queue) == 2)
            door.writer.commit()
            ack = await agent.ack()
            assert ack.committed_through == 2
            assert [refusal.reason for refusal in ack.refusals] == [pb.Refusal.REFUSAL_CLOCK] * 2

    assert len(run(scenario).committed) == 2


def test_a_window_of_any_age_is_taken_when_its_batch_was_sent_just_now() -> None:
    """Skew is the batch's sent time against its arrival, never a window's age."""
    assert arrival(messages([window(start_us=0)])[0], NOW_US, clock_refusal(0)).refusal is None


def test_what_waited_because_we_did_not_read_is_no_skew() -> None:
    """Batches that were sent while the database was away for ten minutes arrive late through no fault of a clock."""
    skew = Skew()
    assert skew.measure(NOW_US, NOW_US) == 0
    skew.hold(600_000_000)
    assert skew.measure(NOW_US, NOW_US + 600_000_000) == 0
    assert skew.measure(NOW_US, NOW_US + 600_000_000 + 1) == 1
    assert skew.measure(NOW_US + 700_000_000, NOW_US + 700_000_000) == 0
    assert skew.measure(NOW_US, NOW_US + 600_000_000) == 600_000_000


def test_a_clock_that_is_ahead_is_never_excused() -> None:
    skew = Skew()
    skew.hold(600_000_000)
    assert skew.measure(NOW_US + 400_000_000, NOW_US) == -400_000_000


def test_five_minutes_are_the_limit() -> None:
    assert clock_refusal(REFUSED_SKEW_US) is None
    behind = clock_refusal(REFUSED_SKEW_US + 1)
    ahead = clock_refusal(-REFUSED_SKEW_US - 1)
    assert behind is not None
    assert ahead is not None
    assert ("300 s behind" in behind.detail, "300 s ahead of" in ahead.detail) == (True, True)


# Defects.


def break_node_b(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have its windows break their reader."""
    read_sound = Layouts.read

    def read_most(layouts: Layouts, content: bytes) -> WindowColumns:
        if b"node-b" in content:
            raise ZeroDivisionError("a defect of ours")
        return read_sound(layouts, content)

    monkeypatch.setattr(Layouts, "read", read_most)


def test_windows_that_break_their_reader_end_their_own_stream_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong may come to light in the turn of another one. It is counted, and told, once for all of them."""
    break_node_b(monkeypatch)

    async def scenario(door: Door) -> None:
        async with door.agent() as one, door.agent() as other:
            await other.send(messages(minutes(3, node="node-b")))
            assert await other.call.code() is grpc.StatusCode.INTERNAL
            assert "a defect of ours" in await other.call.details()
            assert door.ingest.stats().failed == 1
            await one.send(messages(minutes(2)))
            await door.until(lambda: len(door.writer.queue) == 2)
            door.writer.commit()
            assert (await one.ack()).committed_through == 2

    run(scenario)
    assert len([record for record in caplog.records if "is ended by a defect" in record.getMessage()]) == 1


def test_a_window_that_breaks_the_writer_is_neither_acknowledged_nor_refused(caplog: pytest.LogCaptureFixture) -> None:
    """What came before it is; its agent keeps it with all that come after, and the stream of another goes on."""

    def verdict(received: Received) -> Outcome:
        is_broken = received.window.node == "node-b" and received.sequence == 2
        return Outcome(Verdict.FAILED, defect=ZeroDivisionError("of ours")) if is_broken else ACCEPTED

    async def scenario(door: Door) -> None:
        door.writer.verdict = verdict
        async with door.agent() as one, door.agent() as other:
            await one.send(messages(minutes(2)))
            await other.send(messages(minutes(3, node="node-b")))
            await door.until(lambda: len(door.writer.queue) == 5)
            door.writer.commit()
            assert (await one.ack()).committed_through == 2
            assert await other.ack() == pb.Ack(committed_through=1)
            assert await other.call.code() is grpc.StatusCode.INTERNAL
            assert door.ingest.stats().failed == 1

    run(scenario)
    ours = [record for record in caplog.records if record.name.startswith("gputally")]  # gRPC tells of its own end, too
    [said] = [record for record in ours if record.levelname == "ERROR"]
    assert "node-b" in said.getMessage()
    assert said.exc_info


def test_a_defect_that_shows_on_many_nodes_has_its_traceback_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of their streams is named: ten thousand tracebacks a minute would bury that."""
    break_node_b(monkeypatch)

    async def scenario(door: Door) -> None:
        for node in ("node-b1", "node-b2"):
            async with door.agent() as agent:
                await agent.send(messages(minutes(1, node=node)))
                assert await agent.call.code() is grpc.StatusCode.INTERNAL

    run(scenario)
    said = [record for record in caplog.records if "is ended by a defect" in record.getMessage()]
    assert [("node-b1" in record.getMessage(), bool(record.exc_info)) for record in said] == [
        (True, True),
        (False, False),
    ]


def test_a_window_that_breaks_its_reader_gives_its_room_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed for it, which would make the others' turn."""
    break_node_b(monkeypatch)
    monkeypatch.setattr("gputally.collector.ingest.arrivals.PAUSE_S", 0.3)

    async def scenario(door: Door) -> None:
        async with door.agent() as one, door.agent() as other:
            await one.send(messages(minutes(1)))
            await door.until(lambda: len(door.writer.queue) == 1)
            door.writer.commit()
            assert (await one.ack()).committed_through == 1
            await other.send(messages(minutes(1, node="node-b")))
            await door.until(lambda: door.ingest.stats().windows == 2)
            await one.send(messages(minutes(2)[1:], first=2))
            await door.until(lambda: len(door.writer.queue) == 1)
            door.writer.commit()
            assert (await one.ack()).committed_through == 2

    run(scenario, size=1)
