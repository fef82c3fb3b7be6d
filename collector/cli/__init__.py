"""`gputally`: the commands."""
