"""Google Cloud Secret Manager, over its REST API."""
