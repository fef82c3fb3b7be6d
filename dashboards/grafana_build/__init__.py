"""The Grafana dashboards, as code: one module for each, and below them how panels are made."""
