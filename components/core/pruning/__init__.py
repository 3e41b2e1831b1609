"""Which channels of a network may go together, and what each costs."""
