"""The kubelet's word on who holds which partition of which device, and since when."""
