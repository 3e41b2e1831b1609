"""The compiled pipeline as frozen data, and the values, conditions and placeholders in it."""
