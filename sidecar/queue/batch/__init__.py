"""Batch: many calls to one service in one request, each of them a call of its own."""
