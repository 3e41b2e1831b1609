"""Training, for every stage that trains: one loop, schedules, parameter groups, EMA, checkpoints."""
