"""Rates: what a GPU-hour, a kilowatt-hour and its carbon cost, for whom, where, and from when."""
