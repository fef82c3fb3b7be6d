"""Statements and their lines as files: CSV, JSON, HTML, Parquet, FOCUS. What a file holds adds up to the ledger."""
