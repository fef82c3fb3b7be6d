"""The database: how it is opened and migrated, and its tables."""
