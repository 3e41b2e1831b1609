"""Networks as stages exchange and releases publish them: named graphs or weights, with their assets."""
