"""Bring a database to this version's schema, however many replicas start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, text

from gputally.collector.database.engine import is_sqlite, reading, writing

_SCRIPTS = Path(__file__).parent.parent / "migrations"
_LOCK = 0x6770_7574_616C_6C79  # "gputally": the advisory lock that migrating replicas take in turn


class UnknownRevision(RuntimeError):
    """The database was migrated by a newer version than this one."""


def migrate(engine: Engine) -> None:
    """Upgrade the schema to this version's, in one transaction; raises UnknownRevision where it is newer."""
    with writing(engine) as connection:
        if not is_sqlite(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        try:
            command.upgrade(_config(connection), "head")
        except CommandError as error:
            revision = _revision(connection)
            raise UnknownRevision(
                f"the database has schema {revision}, which this version does not know; use a newer version"
            ) from error


def is_current(engine: Engine) -> bool:
    """Whether the database has exactly this version's schema."""
    with reading(engine) as connection:
        return _revision(connection) == ScriptDirectory(str(_SCRIPTS)).get_current_head()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))  # % is ConfigParser's
    config.set_main_option("path_separator", "os")
    return config
