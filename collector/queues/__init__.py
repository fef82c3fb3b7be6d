"""Queues: which quota of GPUs each has, who used it, and what lay idle."""
