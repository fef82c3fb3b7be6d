"""Applied files: every version kept whole, the last one holds, and the past can be asked."""

import hashlib
import threading

from sqlalchemy import Engine

from gputally.collector.database.engine import reading
from gputally.collector.files.applied import Kind, apply_file, current, version, versions, whoami


def test_every_version_is_kept_byte_for_byte(engine: Engine) -> None:
    first, second = "a: 1 # ü\r\n".encode(), b"a: 2\n"
    for at, content in enumerate((first, second)):
        applied, new = apply_file(engine, Kind.RATES, content, "ann@host", 100 + at)
        assert new
        assert applied.content_hash == hashlib.sha256(content).digest()
    with reading(engine) as connection:
        found = versions(connection, Kind.RATES)
        assert [(one.version, one.content, one.applied_us, one.applied_by) for one in found] == [
            (1, first, 100, "ann@host"),
            (2, second, 101, "ann@host"),
        ]
        assert current(connection, Kind.RATES) == found[1] == version(connection, Kind.RATES, 2)
        assert version(connection, Kind.RATES, 3) is None


def test_what_holds_already_makes_no_new_version(engine: Engine) -> None:
    """An earlier content applied again is a new version: it replaces what came between."""
    for content, expected in ((b"a", (1, True)), (b"a", (1, False)), (b"b", (2, True)), (b"a", (3, True))):
        applied, new = apply_file(engine, Kind.TEAMS, content, "ann@host", 100)
        assert (applied.version, new) == expected


def test_kinds_do_not_touch_each_other(engine: Engine) -> None:
    apply_file(engine, Kind.TEAMS, b"a", "ann@host", 100)
    with reading(engine) as connection:
        assert current(connection, Kind.RATES) is None


def test_the_past_can_be_asked(engine: Engine) -> None:
    apply_file(engine, Kind.RATES, b"a", "ann@host", 100)
    apply_file(engine, Kind.RATES, b"b", "ann@host", 200)
    with reading(engine) as connection:
        answers = [current(connection, Kind.RATES, as_of_us) for as_of_us in (99, 100, 199, 200)]
    assert [one and one.content for one in answers] == [None, b"a", b"a", b"b"]


def test_those_who_apply_at_once_get_a_version_each(engine: Engine) -> None:
    failures: list[BaseException] = []

    def apply(at: int) -> None:
        try:
            apply_file(engine, Kind.RATES, f"a: {at}".encode(), "ann@host", 100)
        except Exception as error:  # noqa: BLE001 - the assertion below prints it
            failures.append(error)

    threads = [threading.Thread(target=apply, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with reading(engine) as connection:
        assert [one.version for one in versions(connection, Kind.RATES)] == [1, 2, 3, 4, 5, 6]


def test_who_applied_it_is_a_user_of_a_host() -> None:
    user, at, host = whoami().partition("@")
    assert user
    assert at
    assert host
