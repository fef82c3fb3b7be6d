"""Whose work a pod is, in the words of the platform that ran it: pure, it reads no API and no database."""
