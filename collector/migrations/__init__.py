"""The schema's history, run by `gputally.collector.migrate`."""
