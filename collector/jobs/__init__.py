"""Jobs: what one workload's pods come to, whatever they are: ranks, replicas, restarts, attempts."""
