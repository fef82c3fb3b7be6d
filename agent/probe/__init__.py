"""SAMPLE: the child process that owns the driver and reads /proc, and how its parent keeps one alive."""
