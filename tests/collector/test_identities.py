"""Ids of names: made once, whoever makes them, and never remembered from a transaction that did not commit."""

import threading

import pytest
from sqlalchemy import Engine, delete, select

from gputally.collector.database.engine import open_database, reading, writing
from gputally.collector.database.schema import node
from gputally.collector.ingest.identities import Identities, Key


def nodes(size: int = 100) -> Identities:
    """The ids of nodes."""
    return Identities(node, ("cluster", "name"), size)


def stored(engine: Engine) -> dict[Key, int]:
    """What stands in the table."""
    with reading(engine) as connection:
        rows = connection.execute(select(node.c.cluster, node.c.name, node.c.id))
        return {(cluster, name): id_ for cluster, name, id_ in rows}


def test_a_name_gets_one_id_and_keeps_it(engine: Engine) -> None:
    """Inserted where it is absent, found where it is there, by cache or by another process."""
    ids = nodes()
    keys: list[Key] = [("c", "a"), ("c", "b")]
    with writing(engine) as connection:
        first = dict(ids.resolve(connection, keys))
    ids.keep()
    with writing(engine) as connection:
        assert dict(ids.resolve(connection, [*keys, ("d", "a")])).items() >= first.items()
        assert dict(nodes().resolve(connection, keys)) == first
    assert stored(engine).items() >= first.items()
    assert len(stored(engine)) == 3


def test_more_names_than_one_statement_holds(engine: Engine) -> None:
    """A group may bring any number of new owners."""
    keys: list[Key] = [("c", f"n{at}") for at in range(1_001)]
    with writing(engine) as connection:
        assert len(nodes().resolve(connection, keys)) == len(keys)
    assert len(stored(engine)) == len(keys)


def test_names_may_hold_anything(engine: Engine) -> None:
    """They go to the database as arrays, whose own signs must not end them."""
    texts = ("", " ", "NULL", "null", "{a,b}", '"', "\\", "a,b", "ä\n\t😀", "';--", "%s", "$1", ":x")
    keys: list[Key] = [(one, other) for one in texts for other in texts]
    with writing(engine) as connection:
        first = dict(nodes(1000).resolve(connection, keys))
        assert dict(nodes(1000).resolve(connection, keys[::-1])) == first
    assert stored(engine) == first
    assert len(first) == len(keys)


def test_an_id_of_a_transaction_that_failed_is_not_used_again(engine: Engine) -> None:
    """The next one would point at a row that is not there, or at another's."""
    ids = nodes()
    with pytest.raises(ZeroDivisionError):
        _resolve_and_fail(engine, ids)
    ids.forget()
    with writing(engine) as connection:
        nodes().resolve(connection, [("c", "taken-meanwhile")])
    with writing(engine) as connection:
        found = dict(ids.resolve(connection, [("c", "a")]))
    assert found == {key: id_ for key, id_ in stored(engine).items() if key == ("c", "a")}


def _resolve_and_fail(engine: Engine, ids: Identities) -> None:
    with writing(engine) as connection:
        ids.resolve(connection, [("c", "a")])
        raise ZeroDivisionError


def test_the_oldest_use_is_forgotten_first(engine: Engine) -> None:
    """Bounded: what is forgotten is looked up again, what was just used is not."""
    ids = nodes(size=2)
    for key in (("c", "a"), ("c", "b"), ("c", "a"), ("c", "c")):
        with writing(engine) as connection:
            ids.resolve(connection, [key])
        ids.keep()
    before = stored(engine)
    with writing(engine) as connection:
        connection.execute(delete(node))
        remembered: list[Key] = [("c", "a"), ("c", "c")]
        assert dict(ids.resolve(connection, remembered)) == {key: before[key] for key in remembered}
        assert ids.resolve(connection, [("c", "b")])  # inserted again: it was not remembered


def test_two_writers_at_once_agree_on_the_ids(database_url: str) -> None:
    """Each inserts what the other does, in the same order: neither fails, and neither waits for ever."""
    keys: list[Key] = [("c", f"n{at}") for at in range(50)]
    together = threading.Barrier(2)
    found: list[dict[Key, int]] = []

    def resolve(wanted: list[Key]) -> None:
        engine = open_database(database_url)
        together.wait(60)
        with writing(engine) as connection:
            found.append(dict(nodes().resolve(connection, wanted)))
        engine.dispose()

    threads = [threading.Thread(target=resolve, args=(wanted,)) for wanted in (keys, keys[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 2
    assert found[0] == found[1]
