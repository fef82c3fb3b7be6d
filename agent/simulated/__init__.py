"""GPUs, pods and processes that obey the same physics, from a scenario file."""
