"""The network of one student that continues, out of those of a whole rung."""
