"""What kind of waste idle time is: five kinds that divide it, first that fits, and two lenses across all time."""
