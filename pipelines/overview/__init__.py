"""One page over everything in a store: runs, releases, champions, drift."""
