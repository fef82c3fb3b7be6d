"""The driver of real GPUs: NVML through nvidia-ml-py. The only folder that imports pynvml."""
