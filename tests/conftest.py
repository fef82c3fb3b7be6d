"""Fixtures that tests of several folders share."""

from tests.databases import database_kind, database_url, empty_database_url, engine, migrated_file, postgres_server

__all__ = ["database_kind", "database_url", "empty_database_url", "engine", "migrated_file", "postgres_server"]
