"""The pages: what the ledger says, for people, rendered here; no script, nothing from another host."""
