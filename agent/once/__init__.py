"""`gputally-agent --once`: one look at this node, for people and programs."""
