"""Pipelines on a cluster: what is set for it at deployment, and handing it over through `kfp.Client`. See README.md."""
