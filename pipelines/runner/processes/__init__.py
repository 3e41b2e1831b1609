"""The processes that run tasks: the warm one, its forked children, and the machine's capacity for them."""
