"""The schema's history, run by `gputally.collector.database.migrate`."""
