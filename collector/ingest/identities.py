"""Ids of nodes, devices and owners: made when first seen, and remembered once they are committed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

from sqlalchemy import Connection, Table, bindparam, select, tuple_

from gputally.accounting.keys import Owner
from gputally.collector.database.engine import is_sqlite
from gputally.collector.ingest.bulk import insert_absent, type_name

_CHUNK = 400  # keys of one statement: 8 columns each stay far below SQLite's 32766 parameters

Key = tuple[str | int, ...]


def owner_key(owner: Owner) -> Key:
    """An owner as the columns of its table."""
    return (
        owner.kind.value,
        owner.namespace,
        owner.pod,
        owner.container,
        owner.pod_uid,
        owner.first_seen_us,
        owner.user,
        owner.unit,
    )


class Identities:
    """The ids of one table's natural keys.

    An id found in a transaction is remembered only once `keep` says that it was committed; `forget` drops it, and
    all others too: after an error nothing is taken for granted. `size` bounds what is remembered, oldest use first out;
    fewer than a fleet has at one time are as good as none. Keys are kept as they were given.
    """

    def __init__(self, table: Table, columns: Sequence[str], size: int) -> None:
        self._table = table
        self._columns = tuple(columns)
        self._size = size
        self._known: dict[Key, int] = {}  # the last used at its end: an OrderedDict takes twice as much
        self._fresh: dict[Key, int] = {}
        key = tuple_(*(table.c[name] for name in columns))
        named = key.in_(bindparam("keys", expanding=True))
        self._find = select(table.c.id, *(table.c[name] for name in columns)).where(named)
        self._find_by_arrays = _by_arrays(table, columns)

    def resolve(self, connection: Connection, keys: Collection[Key]) -> Mapping[Key, int]:
        """The id of every key; keys that the table does not have are inserted, in order, so that writers never
        wait for each other in a circle."""
        ids = {key: self._known[key] for key in keys if key in self._known}
        for key in ids:
            self._known[key] = self._known.pop(key)
        missing = sorted(key for key in keys if key not in ids)
        found = self._select(connection, missing)
        absent = [key for key in missing if key not in found]
        if absent:
            insert_absent(connection, self._table, self._columns, absent)
            found |= self._select(connection, absent)
        self._fresh |= found
        return ids | found

    def keep(self) -> None:
        """What was resolved is committed: remember it."""
        self._known |= self._fresh
        self._fresh.clear()
        for key in list(islice(self._known, max(0, len(self._known) - self._size))):
            del self._known[key]

    def forget(self) -> None:
        """What was resolved may not be committed: remember nothing."""
        self._known.clear()
        self._fresh.clear()

    def _select(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
        if not keys:
            return {}
        if is_sqlite(connection):
            rows = (row for chunk in _chunks(keys) for row in connection.execute(self._find, {"keys": chunk}))
            given = {key: key for key in keys}
            return {given[*key]: id_ for id_, *key in rows}
        arrays = tuple(list(column) for column in zip(*keys, strict=True))
        found = connection.exec_driver_sql(self._find_by_arrays, arrays)
        return {keys[place - 1]: id_ for id_, place in found}


def _chunks(keys: Sequence[Key]) -> Iterable[Sequence[Key]]:
    return (keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK))


def _by_arrays(table: Table, columns: Sequence[str]) -> str:
    """PostgreSQL's way to find keys: each column is one array. To plan a list of thousands of keys takes it longer than
    to find them."""
    names = [f'"{name}"' for name in columns]
    arrays = ", ".join(f"%s::{type_name(table.c[name].type)}[]" for name in columns)
    same = " AND ".join(f"found.{name} = wanted.{name}" for name in names)
    wanted = f"unnest({arrays}) WITH ORDINALITY AS wanted ({', '.join(names)}, place)"
    return f'SELECT found.id, wanted.place FROM {wanted} JOIN "{table.name}" AS found ON {same}'  # noqa: S608 - our names
