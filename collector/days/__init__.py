"""Sums of postings by day: kept with the postings, sealed when the day is over, dropped with them."""
