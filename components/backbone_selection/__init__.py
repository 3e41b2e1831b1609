"""Which pretrained network to start from: hard limits first, then transferability on the actual data."""
