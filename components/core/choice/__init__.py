"""Which of several measured students is the best within a budget: the rule, and what it compares."""
