"""`gputally migrate`: make the database, or bring its schema to this version."""

import sys

from gputally.collector.cli.database import DatabaseUrl, database, fail, settings_of
from gputally.collector.database.migrate import UnknownRevision
from gputally.collector.database.migrate import migrate as upgrade
from gputally.collector.settings import DatabaseSettings, shown


def migrate(database_url: DatabaseUrl = None) -> None:
    """Make the database, or bring its schema to this version. gputally-collector does the same when it starts."""
    settings = settings_of(DatabaseSettings, database_url=database_url)
    try:
        with database(settings) as engine:
            upgrade(engine)
    except (OSError, UnknownRevision) as error:
        fail(1, [str(error)])
    sys.stdout.write(f"{shown(settings.database_url)} has this version's schema\n")
