"""Records of a run: its state, its tasks' records, their logs."""
