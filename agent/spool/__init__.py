"""SPOOL: windows on disk until the collector has committed them."""
