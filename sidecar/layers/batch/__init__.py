"""Batch: a request of many items, of which only those that failed are sent again."""
