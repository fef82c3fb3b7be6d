"""Fixtures that tests of several folders share, and how properties are tried."""

from hypothesis import settings
from tests.databases import database_kind, database_url, empty_database_url, engine, migrated_file, postgres_server

__all__ = ["database_kind", "database_url", "empty_database_url", "engine", "migrated_file", "postgres_server"]

# How long an example takes says how busy the machine is, and nothing of the rule; what hangs has the tests' own limit.
settings.register_profile("rules", deadline=None)
settings.load_profile("rules")
