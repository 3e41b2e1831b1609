"""A user's own data, wherever and however it is kept, as one stream of items."""
