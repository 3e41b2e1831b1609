"""Which students of a race continue after each has been measured."""
