"""An acknowledgement says what is committed, and nothing that waits."""

from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.ingest.admission import Refusal, RefusalReason
from gputally.collector.ingest.progress import Progress
from gputally.proto import telemetry_pb2 as pb


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.data())
def test_an_ack_never_covers_what_waits_and_in_the_end_covers_all(refused: list[bool], data: st.DataObject) -> None:
    progress = Progress()
    waiting = list(range(1, len(refused) + 1))
    for sequence in waiting:
        progress.received(sequence)
    told, refusals = 0, []
    while waiting:
        sequence = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        refusal = Refusal(RefusalReason.INVALID, "") if refused[sequence - 1] else None
        progress.settled(sequence, refusal)
        if ack := progress.news():
            assert ack.committed_through >= told
            told = ack.committed_through
            refusals += [refusal.sequence for refusal in ack.refusals]
        assert all(told < other for other in waiting)
    assert told == len(refused)
    assert not progress.waiting
    assert sorted(refusals) == [sequence for sequence, is_refused in enumerate(refused, start=1) if is_refused]


def test_an_ack_names_only_what_was_received() -> None:
    """A spool may begin anywhere, and have lost some."""
    progress = Progress()
    for sequence in (5, 9):
        progress.received(sequence)
    progress.settled(9, None)
    assert progress.news() is None
    progress.settled(5, None)
    assert progress.news() == pb.Ack(committed_through=9)
    assert progress.news() is None


def test_a_sequence_that_comes_twice_waits_for_both() -> None:
    progress = Progress()
    progress.received(1)
    progress.received(1)
    progress.settled(1, None)
    assert progress.news() is None
    progress.settled(1, None)
    assert progress.news() == pb.Ack(committed_through=1)
