"""Looking after a store: what may be deleted, and what is damaged or missing."""
