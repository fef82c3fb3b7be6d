"""`gputally-agent doctor`: whether usage will be complete here, and what to change where it will not."""
