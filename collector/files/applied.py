"""Files that were applied (rate cards, team mappings, budgets): every version kept whole, the last of a kind holds."""

import getpass
import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, RowMapping, insert, select, text

from gputally.collector.database.engine import is_sqlite, writing
from gputally.collector.database.schema_billing import applied_file

_LOCK = 0x6770_7461_7070_6C79  # "gptapply": those who apply at once take turns


class Kind(StrEnum):
    """What a file is about."""

    RATES = "rates"
    TEAMS = "teams"
    BUDGETS = "budgets"


@dataclass(frozen=True, slots=True)
class Applied:
    """A version of a file, as it was applied."""

    kind: Kind
    version: int
    content_hash: bytes
    applied_us: int
    applied_by: str
    content: bytes


def apply_file(engine: Engine, kind: Kind, content: bytes, by: str, now_us: int) -> tuple[Applied, bool]:
    """Keep a file as the newest version of its kind; (the version that holds, whether it is new).

    The content that holds already makes no new version. Whoever calls has checked the content: it is UTF-8.
    """
    digest = hashlib.sha256(content).digest()
    with writing(engine) as connection:
        if not is_sqlite(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        holding = current(connection, kind)
        if holding is not None and holding.content_hash == digest:
            return holding, False
        version = 1 if holding is None else holding.version + 1
        new = Applied(kind, version, digest, now_us, by, content)
        connection.execute(insert(applied_file), _values(new))
    return new, True


def current(connection: Connection, kind: Kind, as_of_us: int | None = None) -> Applied | None:
    """The version that holds, or that held at the end of `as_of_us`; None where none was applied by then."""
    newest = select(applied_file).where(applied_file.c.kind == kind.value)
    if as_of_us is not None:
        newest = newest.where(applied_file.c.applied_us <= as_of_us)
    row = connection.execute(newest.order_by(applied_file.c.version.desc()).limit(1)).mappings().one_or_none()
    return None if row is None else _applied(row)


def versions(connection: Connection, kind: Kind) -> Sequence[Applied]:
    """Every version of a kind, the oldest first."""
    query = select(applied_file).where(applied_file.c.kind == kind.value).order_by(applied_file.c.version)
    return [_applied(row) for row in connection.execute(query).mappings()]


def version(connection: Connection, kind: Kind, number: int) -> Applied | None:
    """One version of a kind; None where there is none of that number."""
    query = select(applied_file).where(applied_file.c.kind == kind.value, applied_file.c.version == number)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _applied(row)


def whoami() -> str:
    """Who runs this command, as far as the system says: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's uid without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _values(applied: Applied) -> dict[str, object]:
    return {
        "kind": applied.kind.value,
        "version": applied.version,
        "content_hash": applied.content_hash,
        "applied_us": applied.applied_us,
        "applied_by": applied.applied_by,
        "text": applied.content.decode(),
    }


def _applied(row: RowMapping) -> Applied:
    return Applied(
        Kind(row["kind"]),
        row["version"],
        row["content_hash"],
        row["applied_us"],
        row["applied_by"],
        row["text"].encode(),
    )
