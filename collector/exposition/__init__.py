"""Prometheus: the fleet's totals, the month's figures, and how the collector itself is doing."""
