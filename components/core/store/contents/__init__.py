"""Contents of a store: blobs, results, checkpoints, releases, refs and the journal, each with its guarantees."""
