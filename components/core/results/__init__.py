"""Results of tasks, kept and found again: by the local runner, and by a stage in its own container on a cluster.

`cache.py` has the key and the record, `payload.py` what an artifact contains, `code.py` the digest of code, and
`recall.py` what a stage does about it where no runner does.
"""
