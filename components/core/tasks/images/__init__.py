"""The parts that all tasks on images share."""
