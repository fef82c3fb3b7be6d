"""Prometheus: the last snapshot as families, by what they are about."""
