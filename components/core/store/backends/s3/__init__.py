"""Objects in an S3 bucket: requests, transfers and their errors. Only this package imports boto3."""
