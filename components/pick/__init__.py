"""The network of a student that goes on, out of those of a whole rung."""
