"""The plan of a search in a time box: candidates, and epochs for all of them."""
