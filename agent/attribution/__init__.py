"""ATTRIBUTE: two samples and who held what become usage, exactly."""
