"""A finished run in a tracking server (MLflow): what is recorded of it, and how it gets there."""
