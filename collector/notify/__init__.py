"""Telling people: what is worth a message, what was told already, how it is written, and how it is sent."""
