"""`gputally top`: facts are read, made into rows and a header (pure), fitted to a terminal (pure), and drawn (rich)."""
