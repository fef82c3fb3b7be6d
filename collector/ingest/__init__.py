"""INGEST: streams of windows come in, are judged, and are committed in groups."""
