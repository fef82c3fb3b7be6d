"""A quick look at a window's columns lets nothing in that the rules in words refuse, and keeps nothing out."""

from datetime import UTC

from hypothesis import event, given
from tests.spoiled import messages

from gputally.collector.ingest import rules
from gputally.collector.ingest.arrivals import arrival
from gputally.collector.ingest.validity import invalidity, is_sound
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb


@given(messages())
def test_what_is_sound_has_no_fault_and_what_our_agents_send_without_a_fault_is_sound(message: pb.Window) -> None:
    arrived = arrival(message, 0).read()
    if arrived.refusal:
        event("unreadable")
        return
    window = codec.decode(message)
    fault, sound = rules.fault(arrived, window, UTC), is_sound(arrived, UTC)
    assert not (sound and fault), fault
    ours = codec.encode(window, message.agent_id, message.boot_id, message.sequence) == arrived.message
    assert sound or fault or not ours
    refusal = invalidity(arrived, UTC)
    assert (refusal.detail if refusal else "") == fault
    event(f"{'ours' if ours else 'odd'}: {'sound' if sound else 'fault' if fault else 'doubt'}")
