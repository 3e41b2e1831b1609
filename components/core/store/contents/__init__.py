"""What a store holds: blobs, results, checkpoints, releases, refs and the journal, each with its guarantees."""
