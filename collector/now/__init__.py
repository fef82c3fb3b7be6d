"""What is there now: who holds what by each node's newest window, since when it is idle, and what that costs."""
