"""Where the code of each component is."""
