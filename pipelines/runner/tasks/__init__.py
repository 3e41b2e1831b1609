"""One task, from its inputs to its record."""
