"""The lines of an open month: its postings as they are now, with the terms that hold now."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, func, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import BigInteger, SmallInteger

from gputally.collector.allocation.period import Period
from gputally.collector.database.among import among
from gputally.collector.database.coded import BASIS, REASON
from gputally.collector.database.schema import device, node, owner, posting
from gputally.collector.files.effective import FOREVER_US
from gputally.collector.statement.block import MOST_ACCOUNTS, Account, Block, bare
from gputally.collector.statement.line import Amounts, Holding, Line, Terms
from gputally.collector.statement.terms import TermsBook

_Key: TypeAlias = tuple[Any, ...]  # what a posting is named by, as ids and numbers

_of = posting.c
_KEY = (_of.node_id, _of.device_id, _of.owner_id, _of.partition, _of.profile)
_WORDS = (type_coerce(_of.basis, SmallInteger), type_coerce(_of.reason, SmallInteger))
_AMOUNTS = [
    func.coalesce(_of.gap_us, 0, type_=BigInteger) if name == "gap_us" else _of[name] for name in Amounts._fields
]
_POSTINGS = select(_of.hour_us, *_KEY, *_WORDS, *_AMOUNTS).order_by(*posting.primary_key.columns)
_BASES, _REASONS = ({code: word for word, code in kind.words} for kind in (BASIS, REASON))
_OF_OWNER = ("kind", "namespace", "pod", "container", "pod_uid", "first_seen_us", "user", "unit")


def live_lines(connection: Connection, period: Period, book: TermsBook) -> Iterator[Line]:
    """The postings of a period, priced, by hour; a few at a time, whatever their number."""
    return chain.from_iterable(block.lines() for block in live_blocks(connection, period, book))


def live_blocks(connection: Connection, period: Period, book: TermsBook) -> Iterator[Block]:
    """The same in blocks. Names are looked up by their ids: a join would fetch them for each posting."""
    accounts = _Accounts(connection, book)
    within = _POSTINGS.where(_of.hour_us >= period.start_us, _of.hour_us < period.end_us)
    for rows in bare(connection, within):
        hours, *columns = zip(*rows, strict=True)
        names, amounts = columns[: -len(_AMOUNTS)], columns[-len(_AMOUNTS) :]
        yield Block(hours, accounts.of(hours, list(zip(*names, strict=True))), amounts)


class _Accounts:
    """Accounts of postings by their ids, as their hours go on: each is forgotten when its terms hold no more."""

    def __init__(self, connection: Connection, book: TermsBook) -> None:
        self._connection = connection
        self._book = book
        self._known: dict[_Key, Account] = {}
        self._until: dict[_Key, int] = {}  # when the terms of each end; 0: it is not priced yet
        self._ends: list[tuple[int, _Key]] = []  # a heap of these

    def of(self, hours: Sequence[int], keys: Sequence[_Key]) -> list[Account]:
        """The account of each of some postings, which come by hour."""
        self._forget(hours[0])
        if not self._ends or self._ends[0][0] > hours[-1]:
            with suppress(KeyError):  # one is new
                return list(map(self._known.__getitem__, keys))
        self._learn(set(keys) - self._known.keys())
        return [self._at(key, hour_us) for key, hour_us in zip(keys, hours, strict=True)]

    def _at(self, key: _Key, hour_us: int) -> Account:
        if self._until[key] <= hour_us:
            self._price(key, hour_us)
        return self._known[key]

    def _price(self, key: _Key, hour_us: int) -> None:
        holding = self._known[key].holding
        _, until_us, terms = self._book.span(holding.place, hour_us)
        self._known[key], self._until[key] = Account(holding, terms), until_us
        heappush(self._ends, (until_us, key))

    def _forget(self, hour_us: int) -> None:
        if len(self._known) > MOST_ACCOUNTS:
            self._known, self._until, self._ends = {}, {}, []
        while self._ends and self._ends[0][0] <= hour_us:
            _, key = heappop(self._ends)
            if self._until.get(key, FOREVER_US) <= hour_us:  # else it was renewed, or is gone already
                del self._known[key], self._until[key]

    def _learn(self, missing: Collection[_Key]) -> None:
        """The names of new keys."""
        if not missing:
            return
        nodes = self._named(node, (node.c.cluster, node.c.name), {key[0] for key in missing})
        devices = self._named(device, (device.c.uuid, device.c.model), {key[1] for key in missing})
        owners = self._named(owner, [owner.c[name] for name in _OF_OWNER], {key[2] for key in missing})
        for key in missing:
            node_id, device_id, owner_id, partition, profile, basis, reason = key
            place, whose = (*nodes[node_id], *devices[device_id], partition, profile), owners[owner_id]
            holding = Holding._make((*place, *whose, _BASES[basis], _REASONS[reason]))
            self._known[key], self._until[key] = Account(holding, Terms()), 0

    def _named(
        self, table: Table, columns: Sequence[ColumnElement[Any]], ids: Collection[int]
    ) -> Mapping[int, Sequence[Any]]:
        query = select(table.c.id, *columns).where(among(self._connection, table.c.id, "ids"))
        return {row_id: of for row_id, *of in self._connection.execute(query, {"ids": sorted(ids)})}
