"""Backbones: the catalog, building them, cutting channels out of them, counting what they cost."""
