"""Read a user's data set, local or in S3 and in any supported layout, as one stream of items."""
