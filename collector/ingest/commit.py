"""One group of windows into the database, in one transaction: each is accepted whole, known already, or quarantined.

Windows of one node are judged under that node's row lock, so no two writers accept windows that overlap, whichever
replicas they run on; a node's agent talks to one replica at a time, so the lock is hardly ever waited for.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Row, bindparam, select

from gputally.accounting.ledger_hour import HOUR_US, hour_start
from gputally.collector.database import schema
from gputally.collector.database.among import among
from gputally.collector.database.engine import DATABASE_ERRORS, VALUE_ERRORS, is_sqlite, upsert, writing
from gputally.collector.ingest.admission import (
    ACCEPTED,
    MAX_WINDOW_US,
    Outcome,
    Received,
    Refusal,
    RefusalReason,
    Span,
    Timeline,
    Verdict,
    age_refusal,
    forgotten_refusal,
    future_refusal,
)
from gputally.collector.ingest.bulk import insert_rows, insert_with_ids
from gputally.collector.ingest.columns import WindowColumns
from gputally.collector.ingest.identities import Identities
from gputally.collector.ingest.layout import Layout
from gputally.collector.ingest.rows import Numbered, Numbers, device_rows, line_rows, number
from gputally.collector.ingest.spool_reports import keep_reports
from gputally.collector.ingest.sums import sums_of
from gputally.collector.ingest.validity import invalidity
from gputally.collector.ledger.gaps import Covered, Skip, fill
from gputally.collector.ledger.marks import set_marks
from gputally.collector.ledger.state import State, shared_state
from gputally.collector.ledger.totals import add_to_totals

_NODES = 20_000  # ids remembered: a fleet's nodes,
_DEVICES = 200_000  # their devices,
_OWNERS = 300_000  # and the containers that held them lately, some 400 bytes each
_TRUSTED_BY = "gputally_committer"  # of a connection: who has remembered no ids but since it
_LONGEST_TEXT = 1000  # characters of a refused window's names, and of what is wrong with it

_LOCK = select(schema.node.c.id).order_by(schema.node.c.id).with_for_update(key_share=True)

_window = schema.window.c
_NEAR = select(_window.node_id, _window.start_us, _window.end_us, _window.content_hash).where(
    _window.start_us > bindparam("after"),
    _window.start_us < bindparam("before"),
)


@dataclass(frozen=True, slots=True)
class _Examined:
    """A window with its content hash; `invalid` says why it can never be accepted, whatever is in the database."""

    received: Received
    content_hash: bytes
    invalid: Refusal | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A window that may be accepted: as it came in, what it says, its node, and its time and content as the rules
    between windows see them."""

    received: Received
    window: WindowColumns
    node_id: int
    span: Span


def _candidate(examined: _Examined, node_id: int) -> _Candidate:
    window = examined.received.window
    span = Span(window.start_us, window.end_us, examined.content_hash)
    return _Candidate(examined.received, window, node_id, span)


class Committer:
    """Commits groups of windows; one thread at a time, any number of processes.

    `zone` is the billing time zone; `max_age_us` is how long lines are kept, None for ever.
    """

    def __init__(self, engine: Engine, zone: tzinfo, max_age_us: int | None) -> None:
        self._engine = engine
        self._zone = zone
        self._max_age_us = max_age_us
        self._nodes = Identities(schema.node, ("cluster", "name"), _NODES)
        self._devices = Identities(schema.device, ("uuid", "model"), _DEVICES)
        owner = ("kind", "namespace", "pod", "container", "pod_uid", "first_seen_us", "user", "unit")
        self._owners = Identities(schema.owner, owner, _OWNERS)
        self._identities = (self._nodes, self._devices, self._owners)
        # As long as the door remembers a layout, so that none is looked up for two windows that follow each other.
        self._numbers: WeakKeyDictionary[Layout, Numbers] = WeakKeyDictionary()
        self._fresh: Mapping[Layout, Numbers] = {}

    def commit(self, group: Sequence[Received], now_us: int) -> list[Outcome]:
        """What became of each window, in order, now that it is committed; raises one of DATABASE_ERRORS, and then
        nothing of the group is written. A window whose values the database refuses is quarantined as invalid; one on
        which a defect of ours shows has failed, and nothing of it is written."""
        try:
            return self._commit([_examine(received, self._zone) for received in group], now_us)
        except VALUE_ERRORS as error:
            if len(group) == 1:
                return [self._set_aside(group[0], str(error).partition("\n")[0])]
        except DATABASE_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - the others' windows go on; its door says what happened
            if len(group) == 1:
                return [Outcome(Verdict.FAILED, defect=error)]
        # By halves: one bad window of many takes some transactions more, not one for each of them.
        half = len(group) // 2
        return self.commit(group[:half], now_us) + self.commit(group[half:], now_us)

    def _commit(self, group: Sequence[_Examined], now_us: int) -> list[Outcome]:
        try:
            with writing(self._engine) as connection:
                self._trust_only(connection)
                outcomes = self._judge_and_write(connection, group, now_us)
        except BaseException:
            self._forget()
            raise
        for known in self._identities:
            known.keep()
        self._numbers.update(self._fresh)
        self._fresh = {}
        return outcomes

    def _trust_only(self, connection: Connection) -> None:
        """A connection that is new here may lead to another server, a standby that never got the last commits: ids of
        these stand for nobody there, and no foreign key says so."""
        if connection.info.get(_TRUSTED_BY) is not self:
            self._forget()
            connection.info[_TRUSTED_BY] = self

    def _forget(self) -> None:
        for known in self._identities:
            known.forget()
        self._numbers.clear()
        self._fresh = {}

    def _judge_and_write(self, connection: Connection, group: Sequence[_Examined], now_us: int) -> list[Outcome]:
        candidates = self._candidates(connection, [examined for examined in group if not examined.invalid])
        state = shared_state(connection)
        judged = list(zip(candidates, self._judge(connection, candidates, now_us, state), strict=True))
        self._write(connection, [candidate for candidate, outcome in judged if outcome is ACCEPTED], now_us, state)
        keep_reports(connection, ((candidate.node_id, candidate.received) for candidate in candidates))
        verdicts = iter(judged)
        outcomes = [
            Outcome(Verdict.REFUSED, examined.invalid) if examined.invalid else next(verdicts)[1] for examined in group
        ]
        _quarantine(connection, zip(group, outcomes, strict=True))
        return outcomes

    def _candidates(self, connection: Connection, windows: Sequence[_Examined]) -> list[_Candidate]:
        keys = [(examined.received.window.cluster, examined.received.window.node) for examined in windows]
        ids = self._nodes.resolve(connection, set(keys))
        if not is_sqlite(connection):  # there a writer is alone already
            connection.execute(
                _LOCK.where(among(connection, schema.node.c.id, "nodes")), {"nodes": sorted(ids.values())}
            )
        return [_candidate(examined, ids[key]) for examined, key in zip(windows, keys, strict=True)]

    def _judge(
        self, connection: Connection, candidates: Sequence[_Candidate], now_us: int, state: State
    ) -> Iterator[Outcome]:
        """The verdict on each candidate, in order; one that is accepted counts for those after it."""
        timelines = _timelines(connection, candidates)
        for candidate in candidates:
            timeline = timelines[candidate.node_id]
            outcome = timeline.judge(candidate.span)
            refusal = candidate.received.refusal or self._time_refusal(candidate.window, now_us, state.lines_from_us)
            if outcome is ACCEPTED and refusal:
                outcome = Outcome(Verdict.REFUSED, refusal)
            if outcome is ACCEPTED:
                timeline.add(candidate.span)
            yield outcome

    def _time_refusal(self, window: WindowColumns, now_us: int, lines_from_us: int) -> Refusal | None:
        return (
            age_refusal(window, now_us, self._max_age_us)
            or forgotten_refusal(window, self._zone, lines_from_us)
            or future_refusal(window, now_us)
        )

    def _write(self, connection: Connection, accepted: Sequence[_Candidate], now_us: int, state: State) -> None:
        if not accepted:
            return
        contents = [candidate.window for candidate in accepted]
        numbers = self._numbered(connection, {window.layout for window in contents})
        window_ids = _insert_windows(connection, accepted, now_us)
        windows = [
            Numbered(window_id, window, numbers[window.layout])
            for window_id, window in zip(window_ids, contents, strict=True)
        ]
        insert_rows(connection, schema.window_device, list(device_rows(windows)))
        insert_rows(connection, schema.line, list(line_rows(windows)))
        covered = [part for each in zip(accepted, windows, strict=True) for part in _covered(*each)]
        self._mark_hours(connection, accepted, covered, now_us, state)
        add_to_totals(connection, sums_of(contents))

    def _numbered(self, connection: Connection, layouts: Collection[Layout]) -> Mapping[Layout, Numbers]:
        """The ids in these layouts; those of a new one are remembered once they are committed."""
        known = {layout: numbers for layout in layouts if (numbers := self._numbers.get(layout))}
        new = [layout for layout in layouts if layout not in known]
        device_keys = {key for layout in new for key in zip(layout.uuids, layout.models, strict=True)}
        owner_keys = {layout.owners[place] for layout in new for place in layout.named()}
        device_ids = self._devices.resolve(connection, device_keys)
        owner_ids = self._owners.resolve(connection, owner_keys)
        self._fresh = {layout: number(layout, device_ids, owner_ids) for layout in new}
        return known | self._fresh

    def _mark_hours(
        self,
        connection: Connection,
        accepted: Sequence[_Candidate],
        covered: Sequence[Covered],
        now_us: int,
        state: State,
    ) -> None:
        """Have the windows' hours recomputed, and those whose gaps they change."""
        oldest_us = 0 if self._max_age_us is None else now_us - self._max_age_us
        own = {(hour_start(candidate.window.start_us, self._zone), candidate.node_id) for candidate in accepted}
        set_marks(connection, own | fill(connection, covered, list(_skips(accepted)), self._zone, oldest_us, state))

    def _set_aside(self, received: Received, error: str) -> Outcome:
        refusal = Refusal(RefusalReason.INVALID, f"the database refuses its values: {error}")
        outcome = Outcome(Verdict.REFUSED, refusal)
        with writing(self._engine) as connection:
            _quarantine(connection, [(_Examined(received, _hash(received), refusal), outcome)])
        return outcome


def _examine(received: Received, zone: tzinfo) -> _Examined:
    """What can be said about a window without the database, and so outside its transaction."""
    # What no sender vouches for must not even make a node known.
    final = received.refusal and received.refusal.reason in (RefusalReason.INVALID, RefusalReason.IDENTITY)
    return _Examined(received, _hash(received), received.refusal if final else invalidity(received, zone))


def _hash(received: Received) -> bytes:
    return hashlib.sha256(received.message).digest()


def _timelines(connection: Connection, candidates: Sequence[_Candidate]) -> Mapping[int, Timeline]:
    """Per node, the accepted windows that the candidates could overlap."""
    timelines: defaultdict[int, Timeline] = defaultdict(Timeline)
    for cluster in _clusters(candidates):
        for node_id, start_us, end_us, content_hash in _accepted_near(connection, cluster):
            timelines[node_id].add(Span(start_us, end_us, content_hash))
    return timelines


def _clusters(candidates: Sequence[_Candidate]) -> Iterator[list[_Candidate]]:
    """The candidates in runs without a gap of an hour, so that late windows do not make us read all between."""
    run: list[_Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: candidate.span.start_us):
        if run and candidate.span.start_us - run[-1].span.start_us > HOUR_US:
            yield run
            run = []
        run.append(candidate)
    if run:
        yield run


def _accepted_near(connection: Connection, cluster: Sequence[_Candidate]) -> Sequence[Row[int, int, int, bytes]]:
    bounds = {
        "nodes": sorted({candidate.node_id for candidate in cluster}),
        "after": cluster[0].span.start_us - MAX_WINDOW_US,
        "before": max(candidate.span.end_us for candidate in cluster),
    }
    return connection.execute(_NEAR.where(among(connection, _window.node_id, "nodes")), bounds).all()


def _insert_windows(connection: Connection, accepted: Iterable[_Candidate], now_us: int) -> Sequence[int]:
    return insert_with_ids(connection, schema.window, [_window_row(candidate, now_us) for candidate in accepted])


def _window_row(candidate: _Candidate, now_us: int) -> tuple[int | str | bytes, ...]:
    """A row of `window`, in the order of its columns, without its id."""
    received, window = candidate.received, candidate.window
    return (
        candidate.node_id,
        window.start_us,
        window.end_us,
        candidate.span.content_hash,
        received.agent_id,
        received.boot_id,
        received.sequence,
        window.skipped_us,
        window.waited_us,
        now_us,
    )


def _covered(candidate: _Candidate, numbered: Numbered) -> Iterator[Covered]:
    """What a window covers of its devices' time: one that came in the middle of it was there at its end."""
    node_id, end_us, devices = candidate.node_id, candidate.window.end_us, numbered.numbers.devices
    capacities = [device.capacity_us for device in numbered.window.devices]
    for capacity_us in set(capacities) - {0}:
        alike = devices
        if capacities.count(capacity_us) < len(capacities):
            alike = [device_id for device_id, us in zip(devices, capacities, strict=True) if us == capacity_us]
        yield Covered(node_id, frozenset(alike), numbered.window_id, end_us - capacity_us, end_us)


def _skips(accepted: Iterable[_Candidate]) -> Iterator[Skip]:
    for candidate in accepted:
        window = candidate.window
        if window.skipped_us:
            yield Skip(candidate.node_id, window.start_us - window.skipped_us, window.start_us)


def _quarantine(connection: Connection, judged: Iterable[tuple[_Examined, Outcome]]) -> None:
    """Keep what was refused, whole; the same bytes stand there once."""
    rows = {
        examined.content_hash: _quarantine_row(examined, outcome.refusal)
        for examined, outcome in judged
        if outcome.refusal
    }
    if rows:
        statement = upsert(connection, schema.quarantine).on_conflict_do_nothing(index_elements=["content_hash"])
        connection.execute(statement, [rows[content_hash] for content_hash in sorted(rows)])


def _quarantine_row(examined: _Examined, refusal: Refusal) -> dict[str, object]:
    received = examined.received
    return {
        "cluster": _clean(received.window.cluster),
        "node": _clean(received.window.node),
        "start_us": received.window.start_us,
        "content_hash": examined.content_hash,
        "received_us": received.received_us,
        "reason": refusal.reason.value,
        "detail": _clean(refusal.detail),
        "message": received.message,
    }


def _clean(text: str) -> str:
    """The text as any database can hold it: without NULs, and not without end."""
    return text.replace("\0", "\ufffd")[:_LONGEST_TEXT]
