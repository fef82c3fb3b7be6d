"""The HTTP API: what the ledger holds, for those who may see it."""
