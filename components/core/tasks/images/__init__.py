"""What the tasks that look at images share."""
