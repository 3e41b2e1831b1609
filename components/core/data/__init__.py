"""Data sets: user data in, shards in the store, and the one engine that reads them in batches."""
