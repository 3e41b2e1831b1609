"""What a network is between stages and in a release: named graphs or weights, and the assets that belong to them."""
