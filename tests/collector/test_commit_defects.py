"""A defect of ours that shows on one window keeps that window out, and nothing else."""

from datetime import tzinfo

import pytest
from sqlalchemy import Connection, Engine, event
from tests.collector.test_commit import NOW_US, all_received, committer, count, verdicts
from tests.databases import empty
from tests.windows import minutes

from gputally.collector.database import schema
from gputally.collector.ingest import validity
from gputally.collector.ingest.admission import Received, Refusal, Verdict


def break_on(patched: pytest.MonkeyPatch, window: Received) -> None:
    """Have nobody able to examine this one."""
    examine = validity.invalidity

    def broken(one: Received, zone: tzinfo) -> Refusal | None:
        return examine(one, zone) if one is not window else {}["a defect of ours"]

    patched.setattr("gputally.collector.ingest.commit.invalidity", broken)


def test_a_window_on_which_a_defect_shows_leaves_the_others_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is written, no quarantine either: a collector without the defect will take it."""
    empty(engine)
    group, under_test = all_received(minutes(3)), committer(engine)
    with monkeypatch.context() as patched:
        break_on(patched, group[1])
        outcomes = under_test.commit(group, NOW_US)
    assert verdicts(outcomes) == ["accepted", "failed", "accepted"]
    assert isinstance(outcomes[1].defect, KeyError)
    assert count(engine, schema.quarantine) == 0
    assert verdicts(under_test.commit(group, NOW_US)) == ["duplicate", "accepted", "duplicate"]


def test_who_fails_is_found_in_few_transactions(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent whose window fails comes again and again: the others of its group are not committed one by one."""
    empty(engine)
    group, begun = all_received(minutes(64)), list[Connection]()
    break_on(monkeypatch, group[37])
    event.listen(engine, "begin", begun.append)
    outcomes = committer(engine).commit(group, NOW_US)
    assert [at for at, outcome in enumerate(outcomes) if outcome.verdict is Verdict.FAILED] == [37]
    assert verdicts(outcomes).count("accepted") == 63
    assert len(begun) <= 6
