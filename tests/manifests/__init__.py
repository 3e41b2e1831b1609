"""Checks of Kubernetes manifests, without a cluster. Each gives a list of problems, one line each; empty is good."""
