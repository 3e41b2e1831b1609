"""Which students of a race go on, after each has been measured."""
