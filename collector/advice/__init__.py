"""Advice: what the ledger shows that somebody could change, each a fact with its numbers. Nothing is ever done."""
