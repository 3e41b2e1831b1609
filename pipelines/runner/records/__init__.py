"""What is written down about a run: its state, its tasks' records, their logs."""
