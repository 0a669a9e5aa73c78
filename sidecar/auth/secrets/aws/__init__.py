"""AWS Secrets Manager, through aiobotocore, which is imported when a store of this kind is opened."""
