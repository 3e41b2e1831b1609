"""Artifacts between stages: manifests in KFP artifacts, bytes in the store."""
