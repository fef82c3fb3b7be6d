"""Files that people apply: YAML with line numbers, kept version by version, dated."""
