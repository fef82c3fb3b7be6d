"""A billing month: its priced postings, what they come to, closing it, and what arrives after that."""
