"""Defer: a call that may happen later becomes a job."""
