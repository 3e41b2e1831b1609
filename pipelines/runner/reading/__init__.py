"""Compiled YAML into `ir.pipeline.Pipeline`; what the runner does not support is refused here, by name."""
