"""The local runner: executes any compiled KFP v2 pipeline, in parallel, isolated and cached. See README.md."""
