"""An evaluation: two models compared on the same rows. What is known of it, how it is stored, and how it is shown."""
