"""The low floor of a store: named bytes, in files of this machine or in an S3 bucket."""
