"""LEDGER: lines become postings per hour and node; gaps, silence and retention are booked here."""
